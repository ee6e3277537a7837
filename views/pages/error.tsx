/** The error page: what happened, what to do, and the request id to look up in the log. */
import type { ComponentChildren } from "preact";
import { usePage } from "../context.ts";
import { BareLayout, Layout } from "../layout.tsx";
import { withCode } from "../parts/code-spans.tsx";
import { ContactLink } from "../parts/contact.tsx";
import { Icon } from "../parts/icons.tsx";
import { CopyId } from "../parts/value.tsx";

interface ErrorProps {
  /** HTTP status, 400 or more. */
  status: number;
  /** Written for the reader: what happened and what to do. */
  message: string;
  code: string;
  requestId: string;
  /** The request sent a form, rather than asking for a page. */
  sent: boolean;
  /** Path of the page the reader came from. */
  back: string | null;
}

/** A place to continue, by the first part of the path. */
const NEXT: Record<string, { href: string; label: string }> = {
  datasets: { href: "/datasets", label: "All datasets" },
  jobs: { href: "/jobs", label: "All jobs" },
  models: { href: "/models", label: "All models" },
  sweeps: { href: "/sweeps", label: "All sweeps" },
  evaluations: { href: "/evaluations", label: "All evaluations" },
  deployments: { href: "/deployments", label: "All deployments" },
  hosts: { href: "/hosts", label: "All hosts" },
  reset: { href: "/forgot", label: "Ask for a new link" },
};

/** Title and advice by status; the error message is shown between them. */
function wordsFor({ status, sent }: ErrorProps, email: string | undefined): [string, ComponentChildren] {
  const kept = sent ? "Go back: what you typed is still in the form." : null;
  if (status === 404)
    return ["Not found", "It may have been deleted, the link may be incomplete, or it belongs to another team."];
  if (status === 403)
    return [
      "Not allowed",
      <>{email ? `You are signed in as ${email}. ` : ""}Ask an administrator to do it, or to change your role.</>,
    ];
  if (status === 409 || status === 410) return ["No longer possible", kept];
  if (status === 413) return ["Too large", kept];
  if (status === 429) return ["Too many requests", "Wait a little, then try again."];
  if (status === 507) return ["The disk is full", "An administrator can free space; see Administration, Status."];
  if (status === 503) return ["Temporarily unavailable", "Try again in a moment. Running jobs continue."];
  if (status >= 500)
    return [
      "Something went wrong",
      "Running jobs and endpoints continue. Try again. If it happens again, give the request id below to your administrator: the server log has the cause.",
    ];
  return ["Request refused", kept];
}

function Body(props: ErrorProps) {
  const { url, viewer, contact } = usePage();
  const [, advice] = wordsFor(props, viewer?.email);
  const next = NEXT[url.pathname.split("/")[1] ?? ""];
  const again = !props.sent && props.status >= 429;
  return (
    <div class="error-page stack">
      <p class="number mono">{props.status}</p>
      {/* The message of an internal error is for programs; the advice below replaces it. */}
      {props.status === 500 ? null : <p class="wrap-any">{withCode(props.message)}</p>}
      {advice ? <p class={props.status === 500 ? undefined : "muted"}>{advice}</p> : null}
      <div class="row">
        {again ? (
          <a class="button primary" href={url.pathname + url.search}>
            <Icon name="repeat" />
            Try again
          </a>
        ) : null}
        {props.back && props.back !== url.pathname + url.search ? (
          <a class={again ? "button" : "button primary"} href={props.back}>
            <Icon name="left" />
            Go back
          </a>
        ) : null}
        {next && url.pathname !== next.href ? (
          <a class={again || props.back ? "button" : "button primary"} href={next.href}>
            {next.label}
          </a>
        ) : null}
        <a class={again || props.back || next ? "button" : "button primary"} href="/">
          {viewer ? "Home page" : "Sign in"}
        </a>
      </div>
      {contact ? (
        <p class="small muted">
          Need help? Contact <ContactLink contact={contact} /> and name the request id.
        </p>
      ) : null}
      <p class="small muted">
        Request <CopyId id={props.requestId} full /> · {props.code}
      </p>
    </div>
  );
}

export function ErrorPage(props: ErrorProps) {
  const { viewer } = usePage();
  const [title] = wordsFor(props, viewer?.email);
  if (viewer)
    return (
      <Layout title={title}>
        <Body {...props} />
      </Layout>
    );
  return (
    <BareLayout title={title}>
      <div class="stack">
        <h1>{title}</h1>
        <Body {...props} />
      </div>
    </BareLayout>
  );
}
