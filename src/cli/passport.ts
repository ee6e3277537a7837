/**
 * `passport verify`: verifies the provenance file of a model (run passport), with the installation's public key when
 * given.
 */
import { readFileSync } from "node:fs";
import { signatureProblem } from "../lib/signed-json.ts";
import { EXIT, UsageError, type Verb } from "./command.ts";

export const passportVerify: Verb = {
  name: "passport verify",
  summary: "Verifies the signature of a model's provenance (run passport). Needs no server and no network.",
  words: "FILE",
  options: {
    key: {
      value: "KEY",
      help: "the installation's public key (GET /v1/passport_key), to exclude a forged key",
    },
  },
  async run(args) {
    const [file] = args.words;
    if (!file || args.words.length > 1) throw new UsageError("Give one file with a passport.");
    let document: { model?: unknown; installation?: unknown; signature?: { public_key?: string } };
    try {
      document = JSON.parse(readFileSync(file, "utf8"));
    } catch (error) {
      throw new UsageError(`${file} cannot be read as JSON: ${error instanceof Error ? error.message : error}`);
    }
    const problem = signatureProblem(document, args.text("key"));
    if (problem) {
      process.stdout.write(`Not valid: ${problem}.\n`);
      return EXIT.failed;
    }
    if (typeof document.model !== "string" || typeof document.installation !== "string") {
      process.stdout.write("Not valid: the document is signed, but it is not the provenance of a model.\n");
      return EXIT.failed;
    }
    process.stdout.write(`Valid: ${document.model}, signed by the installation ${document.installation}.\n`);
    if (!args.text("key"))
      process.stdout.write(
        `Its key is ${document.signature?.public_key}; pass the known key with --key to verify the signer.\n`,
      );
    return EXIT.ok;
  },
};
