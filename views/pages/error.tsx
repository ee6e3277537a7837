/** The page of something that failed: what happened, what to do, and the number under which the log has it. */
import type { ComponentChildren } from "preact";
import { usePage } from "../context.ts";
import { BareLayout, Layout } from "../layout.tsx";
import { Icon } from "../parts/icons.tsx";
import { CopyId } from "../parts/value.tsx";

interface ErrorProps {
  /** HTTP status, 400 or more. */
  status: number;
  /** Written for the reader: what happened and what to do. */
  message: string;
  code: string;
  requestId: string;
  /** A form was sent, rather than a page asked for. */
  sent: boolean;
  /** Path of the page the reader came from. */
  back: string | null;
}

const LISTS: Record<string, string> = {
  datasets: "All datasets",
  jobs: "All jobs",
  models: "All models",
  evaluations: "All evaluations",
  deployments: "All deployments",
  hosts: "All hosts",
};

/** Title and advice by status; the message of the error itself stands between them. */
function wordsFor({ status, sent }: ErrorProps, email: string | undefined): [string, ComponentChildren] {
  const kept = sent ? "Go back: what you typed is still in the form." : null;
  if (status === 404)
    return [
      "Not found",
      "It may have been deleted, the link may be cut short, or it belongs to an organization you are not in.",
    ];
  if (status === 403)
    return [
      "Not allowed",
      <>{email ? `You are signed in as ${email}. ` : ""}Ask an administrator to do it, or to change your role.</>,
    ];
  if (status === 409 || status === 410) return ["That is no longer possible", kept];
  if (status === 413) return ["Too large", kept];
  if (status === 429) return ["Too many requests", "Wait a little, then try again."];
  if (status === 507) return ["The disk is full", "An administrator can free space; see Administration, Status."];
  if (status === 503) return ["Not available just now", "Try again in a moment. Running jobs go on meanwhile."];
  if (status >= 500)
    return [
      "Something went wrong",
      "Running jobs and endpoints go on. Try again; if it happens again, give the request id below to whoever runs this installation: the server's log has the cause under it.",
    ];
  return ["That could not be done", kept];
}

function Body(props: ErrorProps) {
  const { url, viewer } = usePage();
  const [, advice] = wordsFor(props, viewer?.email);
  const list = url.pathname.split("/")[1] ?? "";
  const again = !props.sent && props.status >= 429;
  return (
    <div class="error-page stack">
      <p class="number mono">{props.status}</p>
      {/* What the server says of its own faults is for programs; the advice says it better. */}
      {props.status === 500 ? null : <p class="wrap-any">{props.message}</p>}
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
        {LISTS[list] && url.pathname !== `/${list}` ? (
          <a class={again || props.back ? "button" : "button primary"} href={`/${list}`}>
            {LISTS[list]}
          </a>
        ) : null}
        <a class="button" href="/">
          Start page
        </a>
      </div>
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
