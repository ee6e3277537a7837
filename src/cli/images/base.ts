/** Base images, pinned by digest: a tag is resolved once and recorded, and later builds use the same content. */
import type { Readable } from "node:stream";
import type { Engine } from "../../../plugins/docker/engines.ts";
import { AppError } from "../../errors.ts";
import { followImage, type Show } from "./stream.ts";

interface Base {
  /** The requested reference. */
  name: string;
  /** `sha256:…` of the registry's manifest; null for an image that was built on this engine and is in no registry. */
  digest: string | null;
  /** The reference for the build: by digest when there is one. */
  reference: string;
}

const BY_DIGEST = /^(.+)@(sha256:[0-9a-f]{64})$/;

/** The repository of a reference: without tag, digest, and the prefixes of Docker Hub. */
export function repositoryOf(reference: string): string {
  const name = reference.split("@")[0] ?? "";
  const tag = name.lastIndexOf(":");
  const bare = tag > name.lastIndexOf("/") ? name.slice(0, tag) : name;
  return bare.replace(/^(index\.)?docker\.io\//, "").replace(/^library\//, "");
}

/** Null when the engine has no such image. */
async function inspect({ docker }: Engine, name: string): Promise<{ RepoDigests?: string[] | null } | null> {
  try {
    return await docker.getImage(name).inspect();
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode === 404) return null;
    throw error;
  }
}

const pull = async ({ docker }: Engine, name: string, show: Show) =>
  void (await followImage((await docker.pull(name)) as Readable, show));

/** Images of this program: every build on this engine re-creates them, so their digests are not recorded. */
const isOurs = (name: string) => /^finetune-lab\//.test(repositoryOf(name));

/**
 * Ensures that the engine has the base, and resolves it.
 * @param recorded digest that earlier builds used for this name, or null
 * @param renew pulls the tag again and uses its current content; if that fails, the local image is used
 * @throws AppError `base_image_gone` when the recorded content is no longer available; `image_failed`
 */
export async function resolveBase(
  engine: Engine,
  name: string,
  { recorded, renew }: { recorded: string | null; renew: boolean },
  show: Show,
): Promise<Base> {
  const [, , given] = BY_DIGEST.exec(name) ?? [];
  const digest = given ?? (renew ? null : recorded);
  if (digest) {
    const reference = given ? name : `${repositoryOf(name)}@${digest}`;
    if (!(await inspect(engine, reference)))
      await pull(engine, reference, show).catch((cause: unknown) => {
        if (given) throw cause;
        const said = cause instanceof Error ? cause.message : String(cause);
        throw new AppError(
          "unavailable",
          "base_image_gone",
          `${name} was ${digest} in previous builds, and ${engine.id} cannot pull that: ${said} To build on the current content of the tag, add --renew-base.`,
          { cause },
        );
      });
    return { name, digest, reference };
  }
  const here = await inspect(engine, name);
  if (isOurs(name) && here) return { name, digest: null, reference: name };
  if (renew || !here)
    await pull(engine, name, show).catch((error: unknown) => {
      if (!here) throw error;
    });
  const found = (await inspect(engine, name))?.RepoDigests ?? [];
  const own = found
    .map((one) => BY_DIGEST.exec(one))
    .find((match) => match?.[1] && repositoryOf(match[1]) === repositoryOf(name));
  const now = own?.[2] ?? null;
  return { name, digest: now, reference: now ? `${repositoryOf(name)}@${now}` : name };
}
