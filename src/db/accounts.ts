/** Conditions and columns of queries about accounts: people, and the service accounts of organizations. */
import { eq, type SQL, sql } from "drizzle-orm";
import { user } from "./schema/auth.ts";

/** Everything that means people (sign-in, mail, lists of members) asks for it. */
export const isPerson: SQL = eq(user.kind, "person");

export const isService: SQL = eq(user.kind, "service");

/** What an account is called: the address of a person, the name of a service account. */
export const accountName = sql<string>`case when ${user.kind} = 'service' then ${user.name} else ${user.email} end`;
