/**
 * The context of every part of a page: the viewer, the address, and the time on the server.
 */
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { Contact } from "../src/lib/text/contact.ts";
import type { InstallationRole, TeamRole } from "../src/roles.ts";

export interface Flash {
  kind: "ok" | "bad";
  text: string;
}

/** A message of the installation above the content of every page. */
export interface Banner {
  kind: "info" | "warn" | "bad";
  title: string;
  text: string;
  /** More text, as Markdown. */
  markdown: string | null;
  /** Where to read more or to act. */
  link: { label: string; href: string } | null;
  /** Where the form that hides it is sent; null = it stays. */
  dismiss: string | null;
}

export interface PageInfo {
  /** The requested path with its query. */
  url: URL;
  /** Milliseconds since 1970; relative times count from here. */
  now: number;
  /** Null follows the system. */
  theme: "light" | "dark" | null;
  /** URL prefix of every asset; changes with their content. */
  assets: string;
  /** Null before sign-in. */
  viewer: {
    email: string;
    role: InstallationRole;
    teamRole: TeamRole;
    /** Whether the viewer's role includes a request; pages hide what it does not. */
    may(method: "GET" | "POST", path: string): boolean;
    /** Whether the viewer may delete or stop what this user created. */
    owns(createdBy: string): boolean;
    /** When two-factor authentication must be set up, in milliseconds since 1970; null = it is, or need not be. */
    twoFactorBy: number | null;
  } | null;
  flash: Flash | null;
  banners: Banner[];
  /** Models and endpoints can be reported: moderation is on. */
  reports: boolean;
  /** Links at the end of every page: the documents of the installation, and its status. */
  footer: { label: string; href: string }[];
  /** Where the viewer gets help, and where abuse is reported; null = the installation names no address. */
  contact: Contact | null;
  abuse: Contact | null;
}

export const PageContext = createContext<PageInfo | null>(null);

/** The page being rendered. */
export function usePage(): PageInfo {
  const page = useContext(PageContext);
  if (!page) throw new Error("rendered outside a page: use html() of src/http/html.ts");
  return page;
}

/**
 * The address of this page with some query parameters changed; null or "" removes one. Any other change removes
 * `after`.
 */
export function withQuery(url: URL, changes: Record<string, string | null>): string {
  const query = new URLSearchParams(url.search);
  if (!("after" in changes)) query.delete("after");
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  return url.pathname + (text ? `?${text}` : "");
}
