/** The explicit list of verbs, in the order of help. */
import { auditVerify, keyCreate, keyRotate, userCreate, userPassword, userResetTwoFactor } from "./accounts.ts";
import { backup } from "./backup/backup.ts";
import { backupList, backupVerify } from "./backup/list.ts";
import { restore } from "./backup/restore.ts";
import { billingVerify } from "./billing.ts";
import { chat } from "./client/chat.ts";
import { completion } from "./client/completion.ts";
import { DATASET_VERBS } from "./client/datasets.ts";
import { DEPLOYMENT_VERBS } from "./client/deployments.ts";
import { EVALUATION_VERBS } from "./client/evaluations.ts";
import { JOB_VERBS } from "./client/jobs.ts";
import { login, logout } from "./client/login.ts";
import { logs } from "./client/logs.ts";
import { MODEL_VERBS } from "./client/models.ts";
import { teamBurst } from "./client/team.ts";
import { USAGE_VERBS } from "./client/usage.ts";
import type { Verb } from "./command.ts";
import { doctor } from "./doctor/doctor.ts";
import { IMAGE_VERBS } from "./images/images.ts";
import { migrateVerb } from "./migrate.ts";
import { passportVerify } from "./passport.ts";
import { pluginCheck, pluginNew } from "./plugin.ts";
import { quickstart } from "./quickstart/quickstart.ts";
import { secretRotate } from "./secret.ts";
import { serve } from "./serve.ts";
import { storageMigrate } from "./storage.ts";

/** Verbs by what they need, in the order of help. */
export const VERB_GROUPS: readonly { title: string; verbs: readonly Verb[] }[] = [
  {
    title: "On the server's machine",
    verbs: [
      quickstart,
      serve,
      doctor,
      userCreate,
      userPassword,
      userResetTwoFactor,
      keyCreate,
      keyRotate,
      auditVerify,
      billingVerify,
      passportVerify,
      secretRotate,
      migrateVerb,
      storageMigrate,
      backup,
      backupList,
      backupVerify,
      restore,
      ...IMAGE_VERBS,
      pluginNew,
      pluginCheck,
    ],
  },
  {
    title: "With any server, by its API",
    verbs: [
      login,
      logout,
      ...DATASET_VERBS,
      ...JOB_VERBS,
      logs,
      ...MODEL_VERBS,
      ...DEPLOYMENT_VERBS,
      ...EVALUATION_VERBS,
      chat,
      teamBurst,
      ...USAGE_VERBS,
      completion(() => VERBS),
    ],
  },
];

export const VERBS: readonly Verb[] = VERB_GROUPS.flatMap(({ verbs }) => verbs);
