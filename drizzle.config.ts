/** Tells drizzle-kit where the tables are and where migrations go. */
import { defineConfig } from "drizzle-kit";

export default defineConfig({ dialect: "sqlite", schema: "./src/db/schema/*.ts", out: "./migrations" });
