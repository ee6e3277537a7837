/** Who may call which route. A route that is not listed needs a signed-in member; the test matrix reads this table. */

export type Access = "public" | "member" | "admin" | "trainer";

/** `METHOD path` (as registered, with `:params`; a trailing `*` matches the rest) to the access it needs. */
const ACCESS: Record<string, Access> = {
  "GET /healthz": "public",
  "GET /health": "public",
  // Its route asks for the token of monitoring.
  "GET /metrics": "public",
  "GET /assets/*": "public",
  "GET /favicon.ico": "public",
  "GET /login": "public",
  "POST /login": "public",
  "GET /login/code": "public",
  "POST /login/code": "public",
  "GET /setup": "public",
  "POST /setup": "public",
  "GET /invite": "public",
  "POST /invite": "public",
  "GET /reset": "public",
  "POST /reset": "public",
  "GET /not-me": "public",
  "POST /not-me": "public",
  "GET /forgot": "public",
  "POST /forgot": "public",
  "GET /confirm-email": "public",
  "POST /confirm-email": "public",
  "GET /openapi.json": "public",
  "* /trainer/v1/*": "trainer",
  "* /admin": "admin",
  "* /admin/*": "admin",
  "* /v1/admin/*": "admin",
  "* /v1/fine_tuning/checkpoints/*": "admin",
  "POST /v1/base_models/import": "admin",
  "POST /v1/hosts/*": "admin",
  "DELETE /v1/hosts/*": "admin",
  "POST /v1/gpus/*": "admin",
  "GET /hosts/add": "admin",
  "POST /hosts/*": "admin",
};

const isPrefix = (key: string) => key.endsWith("*");
const exact = new Map(Object.entries(ACCESS).filter(([key]) => !isPrefix(key)));
const prefixes = Object.entries(ACCESS)
  .filter(([key]) => isPrefix(key))
  .map(([key, access]) => {
    const [method = "", path = ""] = key.split(" ");
    return { method, prefix: path.slice(0, -1), access };
  });

/** The access a registered route, or the path of a request, needs; `member` unless the table says otherwise. */
export function accessOf(given: string, route: string): Access {
  const method = given === "HEAD" ? "GET" : given;
  // The router matches a path with a trailing slash to the same route.
  const plain = route.length > 1 && route.endsWith("/") ? route.slice(0, -1) : route;
  const found = exact.get(`${method} ${plain}`) ?? exact.get(`* ${plain}`);
  if (found) return found;
  const match = prefixes.find((p) => (p.method === "*" || p.method === method) && route.startsWith(p.prefix));
  return match?.access ?? "member";
}
