/** Generates ids and secrets: a readable prefix and random characters from a CSPRNG. */

const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz";

/** `length` random characters of base 36 without modulo bias (about 5.17 bits each). */
export function randomChars(length: number): string {
  let out = "";
  while (out.length < length) {
    for (const byte of crypto.getRandomValues(new Uint8Array(length * 2))) {
      if (byte < 252 && out.length < length) out += ALPHABET[byte % 36];
    }
  }
  return out;
}

/** Id prefixes, as users see them; OpenAI's where it has one. */
const ID_PREFIX = {
  organization: "org-",
  user: "user-",
  key: "key-",
  passkey: "passkey_",
  file: "file-",
  upload: "upload_",
  part: "part_",
  dataset: "ds_",
  datasetVersion: "dsv_",
  datasetImport: "imp_",
  trainJob: "ftjob-",
  job: "job-",
  attempt: "att_",
  machine: "mac_",
  event: "ftevent-",
  checkpoint: "ftckpt_",
  permission: "cp_",
  artifact: "art_",
  push: "push_",
  evaluation: "eval_",
  deployment: "dep_",
  sweep: "sweep_",
  chat: "chatcmpl-",
  response: "resp_",
  request: "req_",
  usage: "use_",
  audit: "aud_",
  noticeEvent: "evt_",
  notice: "ntc_",
  delivery: "wh_",
  webhookEndpoint: "whe_",
  ssoProvider: "sso_",
  scimGroup: "scimg_",
  announcement: "ann_",
  archive: "arc_",
  maintenance: "mnt_",
  moderationRule: "mrule_",
  moderationCheck: "mcheck_",
  moderationCase: "mcase_",
  moderationEntry: "mentry_",
  subjectRequest: "subj_",
  termsVersion: "terms_",
  termsAcceptance: "acc_",
  hold: "hold_",
  priceList: "prices_",
  budget: "bud_",
  statement: "stm_",
  statementLine: "stml_",
  credit: "crd_",
  incident: "inc_",
  incidentUpdate: "incup_",
} as const;

/** A new id such as `ftjob-4f0k…`: 20 random characters, about 103 bits. */
export function newId(noun: keyof typeof ID_PREFIX): string {
  return ID_PREFIX[noun] + randomChars(20);
}

/** A secret with 32 random characters (about 165 bits), for keys and tokens. */
export function newSecret(prefix: string): string {
  return prefix + randomChars(32);
}

/** SHA-256 of a text, in hex: how high-entropy secrets are stored. */
export function sha256Hex(text: string | Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex");
}
