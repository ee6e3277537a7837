/**
 * Passwords that attackers try first: 49,000 of zxcvbn's list (18,000 of them with eight characters or more), a few of
 * our own, and simple variants. Compared in lower case.
 */
import { perContext } from "../../ctx.ts";

/** What the list lacks: sequences, and words of people who run servers. */
const MORE =
  `0987654321 87654321 987654321 abcdefgh abcabcabc 1234512345 zxcvbnm, correcthorsebatterystaple administrador
android autumn berlin brazil canada changeit changeme china contrasena contrasenya database debian default demo docker
dropbox eagles example facebook february finetune fortnite france friday gators grafana guest harley harleydavidson
hotmail hottie iloveu india instagram iphone jenkins kubernetes letmein linkedin linux loveme lovers mexico minecraft
monday mustang mylove mysql nissan nopass oracle outlook parola pass passport passw0rd password passwort postgres
qwerty roblox root russia sample secret senha september server spring summer supersecret suzuki test tigger toor toyota
twitter ubuntu user useruser welcome windows winter yahoo yamaha youtube`.split(/\s+/);

const LEET: Record<string, string> = { "0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", $: "s" };

/** Loaded when the first password is set, not at the start. */
const listOf = perContext(async (): Promise<ReadonlySet<string>> => {
  const { dictionary } = await import("@zxcvbn-ts/language-common");
  return new Set([...dictionary["passwords-common"], ...MORE].map(String));
});

const plain = (text: string) => text.replace(/[013457@$]/g, (sign) => LEET[sign] ?? sign);
/** The text without digits and signs at its end. */
const stemOf = (text: string) => text.replace(/(?<![\d!.?@#*_-])[\d!.?@#*_-]+$/, "");

/**
 * True for a well-known password, also with other signs for letters (`p@ssw0rd`), with `!`, `.` or digits appended, and
 * for a repeated run of 1 to 4 characters.
 */
export async function isCommonPassword(ctx: Parameters<typeof listOf>[0], password: string): Promise<boolean> {
  const text = password.toLowerCase();
  if (/^(.{1,4})\1+$/.test(text)) return true;
  const list = await listOf(ctx);
  const stem = stemOf(text);
  return [text, stem, plain(text), plain(stem)].some((each) => each !== "" && list.has(each));
}
