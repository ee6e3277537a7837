/** What a team requires about personal data in datasets, as a panel of its page. */
import type { Policy } from "../../../src/data/privacy/model.ts";
import { PostForm, RoleLink } from "../../parts/allowed.tsx";

export function TeamPrivacy({ requireDecision, byInstallation, scans }: Policy) {
  return (
    <section class="panel" id="privacy">
      <header>
        <h2>Personal data</h2>
        <RoleLink class="button small" href="/team/people">
          Find a person
        </RoleLink>
      </header>
      <PostForm action="/team/privacy" class="body form">
        <label class="check">
          <input
            type="checkbox"
            name="required"
            value="yes"
            checked={requireDecision}
            disabled={byInstallation || !scans || undefined}
          />
          Require a decision before a job uses rows with personal data or secrets
        </label>
        <p class="small muted">
          {!scans
            ? "This installation does not look for personal data (setting pii_scan)."
            : byInstallation
              ? "This installation requires it of every team."
              : "Every dataset version is scanned. With this, jobs on a version with findings are refused until somebody masks the values, leaves the rows out, or accepts them with a reason."}
        </p>
        {byInstallation || !scans ? null : (
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
