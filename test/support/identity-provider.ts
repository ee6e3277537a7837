/**
 * A real identity provider in this process: `oidc-provider`, with accounts and answers that a test chooses. Its ID
 * tokens can be replaced on their way out, signed with its own key or not.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, importJWK, type JWTPayload, SignJWT, UnsecuredJWT } from "jose";
import Provider from "oidc-provider";

/** A person at the provider. `claims` are those of the ID token. */
export interface Person {
  email?: string;
  email_verified?: boolean;
  name?: string;
  groups?: string[];
}

/** How an ID token is changed: other claims, another key, or no signature. */
export interface Tampering {
  claims?: Record<string, unknown>;
  key?: "other" | "none";
}

export interface IdentityProvider {
  issuer: string;
  /** `127.0.0.1:PORT`, for the setting `sso_hosts`. */
  host: string;
  clientId: string;
  clientSecret: string;
  /** People by their id, which is also what a test types as name. */
  people: Map<string, Person>;
  /** Applied to the next ID tokens; null = as they are. */
  tampering: Tampering | null;
  /** Requests to its token endpoint so far. */
  exchanges: number;
  close(): Promise<void>;
}

const CLIENT = { id: "finetune-lab", secret: "a client secret of the tests" };

/** @param callback redirect address of the client, read when a sign-in begins */
export async function startIdentityProvider(callback: () => string): Promise<IdentityProvider> {
  const pair = await generateKeyPair("RS256", { extractable: true });
  const other = await generateKeyPair("RS256", { extractable: true });
  const jwk = { ...(await exportJWK(pair.privateKey)), kid: "tests", alg: "RS256", use: "sig" };
  const people = new Map<string, Person>();
  const state: IdentityProvider = {
    issuer: "",
    host: "",
    clientId: CLIENT.id,
    clientSecret: CLIENT.secret,
    people,
    tampering: null,
    exchanges: 0,
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };

  /** The token response with its ID token changed. */
  async function tampered(body: string): Promise<string> {
    const change = state.tampering;
    const answer = JSON.parse(body) as { id_token?: string };
    if (!change || !answer.id_token) return body;
    const payload = JSON.parse(Buffer.from(answer.id_token.split(".")[1] ?? "", "base64url").toString()) as JWTPayload;
    const claims = { ...payload, ...change.claims };
    const key = change.key === "other" ? other.privateKey : await importJWK(jwk, "RS256");
    const token =
      change.key === "none"
        ? new UnsecuredJWT(claims).encode()
        : await new SignJWT(claims).setProtectedHeader({ alg: "RS256", kid: "tests" }).sign(key);
    return JSON.stringify({ ...answer, id_token: token });
  }

  let handle: (request: IncomingMessage, response: ServerResponse) => void = () => {};
  const server = createServer((request, response) => {
    if (request.url?.startsWith("/token")) {
      state.exchanges++;
      const end = response.end.bind(response);
      response.end = ((chunk?: unknown) => {
        const body = Buffer.from((chunk ?? "") as string).toString();
        tampered(body).then((changed) => {
          response.setHeader("content-length", Buffer.byteLength(changed));
          end(changed);
        });
        return response;
      }) as typeof response.end;
    }
    handle(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  state.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  state.issuer = `http://${state.host}`;

  const provider = new Provider(state.issuer, {
    jwks: { keys: [jwk] },
    clients: [
      {
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        // Replaced below: the port of the application is not known yet.
        redirect_uris: ["http://localhost/"],
        post_logout_redirect_uris: ["http://localhost/login"],
      },
    ],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
    conformIdTokenClaims: false,
    features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
    // Everything that the client asks for is granted, as companies set it up.
    loadExistingGrant: async (context) => {
      const { client, session } = context.oidc;
      const grant = new provider.Grant({ clientId: client?.clientId, accountId: session?.accountId });
      grant.addOIDCScope("openid email profile");
      await grant.save();
      return grant;
    },
    cookies: { keys: ["cookies of the tests"] },
    findAccount: (_context, id) => ({
      accountId: id,
      claims: () => ({ sub: id, ...people.get(id) }),
    }),
  });
  const isMine = (uri: string) => uri === callback();
  provider.Client.prototype.redirectUriAllowed = isMine;
  handle = provider.callback();
  return state;
}

/**
 * Signs in at the provider like a browser without cookies.
 * @param address where the application sent the browser
 * @returns path and query of the application to which the provider sends it back
 */
export async function signInThere(provider: IdentityProvider, address: string, person: string): Promise<string> {
  const jar = new Map<string, string>();
  let next = address;
  for (let hop = 0; hop < 10; hop++) {
    const form = next.includes("/interaction/")
      ? new URLSearchParams({ prompt: "login", login: person, password: "x" })
      : null;
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    const answer = await fetch(next, {
      method: form ? "POST" : "GET",
      body: form,
      redirect: "manual",
      headers: { cookie },
    });
    for (const each of answer.headers.getSetCookie()) {
      const [name = "", value = ""] = (each.split(";")[0] ?? "").split("=");
      jar.set(name, value);
    }
    const location = answer.headers.get("location");
    if (!location) throw new Error(`the provider answered ${answer.status}: ${(await answer.text()).slice(0, 500)}`);
    next = new URL(location, next).href;
    if (!next.startsWith(provider.issuer)) return new URL(next).pathname + new URL(next).search;
  }
  throw new Error("the provider redirects without end");
}
