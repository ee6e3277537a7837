/**
 * The environment that programs started by the server get: enough to find files, a proxy and a package index, and
 * nothing of the server's own.
 */

const NAMES = new Set([
  "PATH",
  "HOME",
  "TMPDIR",
  "LANG",
  "LC_ALL",
  "LC_CTYPE",
  // Where pip looks for its own settings and keeps its downloads.
  "XDG_CONFIG_HOME",
  "XDG_CONFIG_DIRS",
  "XDG_CACHE_HOME",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "REQUESTS_CA_BUNDLE",
  "CURL_CA_BUNDLE",
]);
const PATTERNS = [/^PIP_/, /^(https?|all|no)_proxy$/i];

/**
 * `from` without everything that is not on the list above: tokens of the server (FTL_*) and whatever else its
 * environment holds never reach pip, a build hook of a package, or a helper. `more` is added as it is.
 */
export function cleanEnvironment(
  more: Record<string, string> = {},
  from: Record<string, string | undefined> = process.env,
): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(from))
    if (value !== undefined && (NAMES.has(name) || PATTERNS.some((pattern) => pattern.test(name)))) kept[name] = value;
  return Object.assign(kept, more);
}
