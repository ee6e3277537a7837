/** The explicit list of verbs, in the order of help. */
import { auditVerify, keyCreate, userCreate, userPassword } from "./accounts.ts";
import type { Verb } from "./command.ts";
import { migrateVerb } from "./migrate.ts";
import { serve } from "./serve.ts";

export const VERBS: readonly Verb[] = [serve, userCreate, userPassword, keyCreate, auditVerify, migrateVerb];
