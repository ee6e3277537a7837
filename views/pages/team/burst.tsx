/** The burst policy of the viewer's own team: whether its jobs leave own machines for rented ones. */
import type { TeamBurst } from "../../../src/training/queue/model.ts";
import { PostForm } from "../../parts/allowed.tsx";
import { BurstFields } from "../queue/burst.tsx";
import type { BurstForm } from "../queue/form.ts";
import { burstWords } from "../queue/words.ts";

interface TeamBurstProps {
  burst: TeamBurst;
  burstForm: BurstForm;
  problems: Record<string, string>;
}

export function TeamBurstPanel({ burst, burstForm, problems }: TeamBurstProps) {
  const standard = burstWords(burst.installation);
  return (
    <section class="panel" id="burst">
      <header>
        <h2>Burst policy</h2>
      </header>
      {burst.locked ? (
        <div class="body stack tight">
          <p>{burst.burst ? burstWords(burst.burst) : `${standard}, as the installation`}.</p>
          <p class="small muted">An administrator of the installation set it for this team. A job may have its own.</p>
        </div>
      ) : (
        <PostForm action="/team/burst" class="body form">
          <BurstFields form={burstForm} problems={problems} inherits="Installation's default" />
          <p class="small muted">
            For jobs of the team that have no policy of their own. The installation's default: {standard}.
          </p>
          <div class="row">
            <button type="submit" class="button">
              Save burst policy
            </button>
          </div>
        </PostForm>
      )}
    </section>
  );
}
