/** One document of the installation, for everybody; and the page that asks to accept new versions. */
import type { ComponentChildren } from "preact";
import type { VersionView } from "../../../src/accounts/terms/model.ts";
import { usePage } from "../../context.ts";
import { BareLayout, Layout } from "../../layout.tsx";
import { ContactLink } from "../../parts/contact.tsx";
import { Icon } from "../../parts/icons.tsx";
import { Markdown } from "../../parts/markdown.tsx";
import { Notice } from "../../parts/notice.tsx";
import { AcceptFields } from "./accept-fields.tsx";

export const dateOf = (seconds: number) => new Date(seconds * 1000).toISOString().slice(0, 10);

/** The frame of the viewer: with the menu, or bare for visitors. */
function Frame({ title, children }: { title: string; children: ComponentChildren }) {
  const { viewer } = usePage();
  if (viewer) return <Layout title={title}>{children}</Layout>;
  return (
    <BareLayout title={title} wide>
      <h1>{title}</h1>
      {children}
    </BareLayout>
  );
}

interface DocumentProps {
  shown: VersionView;
  /** Other versions to read, oldest first. */
  others: { version: number; effective_at: number; path: string }[];
}

/** `/terms`, `/acceptable-use`, `/privacy` */
export function DocumentPage({ shown, others }: DocumentProps) {
  const { now, contact, abuse } = usePage();
  const later = shown.effective_at * 1000 > now;
  return (
    <Frame title={shown.title}>
      <div class="stack document">
        <p class="small muted">
          Version {shown.version}, {later ? "takes effect" : "in effect"} {later ? "on" : "since"}{" "}
          {dateOf(shown.effective_at)}
          {others.map(({ version, effective_at, path }) => (
            <>
              {" · "}
              <a href={path}>
                Version {version} ({dateOf(effective_at)})
              </a>
            </>
          ))}
        </p>
        {shown.summary ? (
          <Notice kind="info" title="What changed">
            <p class="wrap-any">{shown.summary}</p>
          </Notice>
        ) : null}
        <Markdown text={shown.text} />
        <p class="small muted">
          {contact ? (
            <>
              Questions: <ContactLink contact={contact} />.{" "}
            </>
          ) : null}
          {abuse ? (
            <>
              To report abuse: <ContactLink contact={abuse} />.
            </>
          ) : null}
        </p>
      </div>
    </Frame>
  );
}

/** `/accept-terms` */
export function AcceptPage(props: {
  due: VersionView[];
  upcoming: VersionView[];
  adultNeeded: boolean;
  next: string;
  error?: string;
}) {
  const { due, upcoming, adultNeeded, next, error } = props;
  const all = [...due, ...upcoming];
  return (
    <BareLayout title="Accept the terms" wide>
      <div class="stack loose">
        <div class="stack tight">
          <h1>{due.length > 0 ? "Accept the terms to continue" : "Accept the new terms"}</h1>
          <p class="muted">
            {due.length > 0
              ? "Jobs and training that run continue. Pages and API keys of your account wait for your acceptance."
              : "They are not in force yet. You can accept them now."}
          </p>
        </div>
        {error ? (
          <Notice kind="bad" alert>
            {error}
          </Notice>
        ) : null}
        {all.map((version) => (
          <details class="more" open={all.length === 1}>
            <summary>
              <Icon name="right" />
              {version.title}, version {version.version} (
              {due.includes(version) ? "in effect since" : "takes effect on"} {dateOf(version.effective_at)})
            </summary>
            <div class="stack document">
              {version.summary ? (
                <Notice kind="info" title="What changed">
                  <p class="wrap-any">{version.summary}</p>
                </Notice>
              ) : null}
              <Markdown text={version.text} />
            </div>
          </details>
        ))}
        <form class="form" method="post" action="/accept-terms">
          <input type="hidden" name="next" value={next} />
          <input type="hidden" name="versions" value={all.map(({ id }) => id).join(",")} />
          <AcceptFields
            documents={all.map(({ title, path }) => ({ label: title, href: path }))}
            adultNeeded={adultNeeded}
          />
          <div class="row">
            <button type="submit" class="button primary">
              Accept and continue
            </button>
          </div>
        </form>
        <form method="post" action="/logout">
          <button type="submit" class="button plain">
            Sign out instead
          </button>
        </form>
      </div>
    </BareLayout>
  );
}
