/** The explicit list of verbs, in the order of help. */
import { auditVerify, keyCreate, userCreate, userPassword } from "./accounts.ts";
import { backup } from "./backup/backup.ts";
import { restore } from "./backup/restore.ts";
import type { Verb } from "./command.ts";
import { doctor } from "./doctor/doctor.ts";
import { IMAGE_VERBS } from "./images/images.ts";
import { migrateVerb } from "./migrate.ts";
import { passportVerify } from "./passport.ts";
import { pluginCheck, pluginNew } from "./plugin.ts";
import { quickstart } from "./quickstart/quickstart.ts";
import { serve } from "./serve.ts";

export const VERBS: readonly Verb[] = [
  quickstart,
  serve,
  doctor,
  userCreate,
  userPassword,
  keyCreate,
  auditVerify,
  passportVerify,
  migrateVerb,
  backup,
  restore,
  ...IMAGE_VERBS,
  pluginNew,
  pluginCheck,
];
