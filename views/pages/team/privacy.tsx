/** What a team requires about personal data in datasets, as a panel of its page. */
import type { Policy } from "../../../src/data/privacy/model.ts";
import { PostForm } from "../../parts/allowed.tsx";

export function TeamPrivacy({ requireDecision, byInstallation, scans }: Policy) {
  if (!scans) return null;
  return (
    <section class="panel" id="privacy">
      <header>
        <h2>Personal data</h2>
      </header>
      <PostForm action="/team/privacy" class="body form">
        <label class="check">
          <input
            type="checkbox"
            name="required"
            value="yes"
            checked={requireDecision}
            disabled={byInstallation || undefined}
          />
          Require a decision before a job uses rows with personal data or secrets
        </label>
        <p class="small muted">
          {byInstallation
            ? "This installation requires it of every team."
            : "Every dataset version is scanned. With this, jobs on a version with findings are refused until somebody masks the values, leaves the rows out, or accepts them with a reason."}
        </p>
        {byInstallation ? null : (
          <div class="row">
            <button type="submit" class="button">
              Save
            </button>
          </div>
        )}
      </PostForm>
    </section>
  );
}
