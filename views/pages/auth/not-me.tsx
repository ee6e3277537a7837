/** `/not-me?token=…`: secures an account whose owner did not do what a notice reports. */
import { BareLayout } from "../../layout.tsx";
import { Notice } from "../../parts/notice.tsx";

export function NotMePage(props: { token: string; title: string; facts: string; email: string }) {
  return (
    <BareLayout title="Secure your account">
      <div class="stack loose">
        <h1>Was this not you?</h1>
        <Notice kind="warn" title={props.title}>
          {props.facts.split("\n").map((line) => (
            <div>{line}</div>
          ))}
        </Notice>
        <p>
          If you did not do this, secure the account <strong>{props.email}</strong>:
        </p>
        <ul class="small">
          <li>Every browser is signed out.</li>
          <li>API keys created since then are revoked, and a second factor added since then is removed.</li>
          <li>The password no longer works. You choose a new one on the next page.</li>
        </ul>
        <form method="post" action="/not-me">
          <input type="hidden" name="token" value={props.token} />
          <button type="submit" class="button danger solid block">
            Secure my account
          </button>
        </form>
        <p class="muted small">If it was you, close this page. Nothing changes.</p>
      </div>
    </BareLayout>
  );
}
