/** `bun run conformance [provider id or plugin folder]`: the provider contract, case by case; the same as `finetune-lab plugin check`. */
process.argv.splice(2, 0, "plugin", "check");
await import("../src/main.ts");

export {};
