/** What stands above the content of every page: announcements, new terms, and a second factor that is due. */

import { formatDate } from "../../src/lib/text/format.ts";
import type { PageInfo } from "../context.ts";
import { ActionButton } from "./form.tsx";
import { Markdown } from "./markdown.tsx";
import { Notice } from "./notice.tsx";

/** Asks for two-factor authentication until it is set up, where a team requires it. */
export function TwoFactorDue({ page }: { page: PageInfo }) {
  const by = page.viewer?.twoFactorBy ?? null;
  if (by === null || page.url.pathname.startsWith("/settings/two-factor")) return null;
  return (
    <div class="due">
      <Notice kind="info" title={`Two-factor authentication is required from ${formatDate(by)}`}>
        Without it you cannot use this site from then on. <a href="/settings/two-factor">Set it up now</a>
      </Notice>
    </div>
  );
}

/** What the installation has to say to this viewer; a banner does not stand above the page that it leads to. */
export function Banners({ page }: { page: PageInfo }) {
  const elsewhere = page.banners.filter(({ link }) => link?.href.split("#")[0] !== page.url.pathname);
  return elsewhere.map(({ kind, title, text, markdown, link, dismiss }) => (
    <div class="due">
      <Notice kind={kind} title={title}>
        {text ? ` ${text} ` : null}
        {markdown ? <Markdown text={markdown} /> : null}
        {link ? <a href={link.href}>{link.label}</a> : null}
        {dismiss ? (
          <ActionButton action={dismiss} class="small" label={`Dismiss: ${title}`}>
            Dismiss
          </ActionButton>
        ) : null}
      </Notice>
    </div>
  ));
}
