/** JSON API of the installation, for administrators: providers with their settings, settings, backups. */
import { Elysia } from "elysia";
import * as v from "valibot";
import { describeProviders, testProvider } from "../compute/limits/administration.ts";
import { LimitsChange, LimitsView, ProviderState, StopProvider } from "../compute/limits/model.ts";
import { readProvider } from "../compute/limits/overview.ts";
import { changeLimits, resumeProvider, stopProvider } from "../compute/limits/service.ts";
import { readProviderSettings, saveProviderSettings } from "../compute/limits/settings.ts";
import { ProviderChange, ProviderForm } from "../compute/limits/settings-model.ts";
import { ProviderDetail, ProviderTest } from "../compute/providers/model.ts";
import type { Actor, Ctx } from "../ctx.ts";
import { answers, deletedOf } from "../http/answers.ts";
import { session } from "../http/session.ts";
import { deleteBackup, listBackups, startBackup } from "../insights/installation/backups.ts";
import { BackupView, backupView, SettingView, StartedBackup } from "../insights/installation/model.ts";
import {
  listSecretSettings,
  removeSecretSetting,
  SaveSecretSetting,
  SecretSettingView,
  saveSecretSetting,
} from "../insights/installation/secret-settings.ts";
import { readSettings } from "../insights/installation/settings.ts";
import { wholeList, wholeListOf } from "../lib/page.ts";

const tags = ["Administration"];

const settings = (ctx: Ctx, actor: Actor) =>
  wholeList(readSettings(ctx, actor).map((row) => ({ object: "setting" as const, ...row })));

async function start(ctx: Ctx, actor: Actor): Promise<v.InferOutput<typeof StartedBackup>> {
  const { name } = await startBackup(ctx, actor);
  return { object: "backup", id: name, status: "running" };
}

async function list(ctx: Ctx, actor: Actor) {
  const { backups, problem } = await listBackups(ctx, actor);
  if (problem) throw problem;
  return wholeList(backups.map(backupView));
}

async function remove(ctx: Ctx, actor: Actor, id: string) {
  await deleteBackup(ctx, actor, id);
  return { object: "backup" as const, id, deleted: true as const };
}

async function removeSecret(ctx: Ctx, actor: Actor, name: string) {
  await removeSecretSetting(ctx, actor, name);
  return { object: "secret_setting" as const, id: name, deleted: true as const };
}

export const installationApi = (ctx: Ctx) =>
  new Elysia({ name: "installation.api", prefix: "/v1/admin", seed: ctx.installation })
    .use(session(ctx))
    .get("/providers", ({ actor }) => wholeList(describeProviders(ctx, actor)), {
      detail: {
        tags,
        summary: "List the providers with their settings",
        responses: answers(wholeListOf(ProviderDetail)),
      },
    })
    .post("/providers/:id/test", ({ actor, params }) => testProvider(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Check the settings and the connection of a provider",
        responses: answers(ProviderTest),
      },
    })
    .get("/providers/:id/settings", ({ actor, params }) => readProviderSettings(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Read the settings of a bundled provider: fields, values, and where each comes from",
        description: "Of docker, runpod, lambda and aws, whether they are in use or not. Secrets are never shown.",
        responses: answers(ProviderForm),
      },
    })
    .put("/providers/:id/settings", ({ actor, params, body }) => saveProviderSettings(ctx, actor, params.id, body), {
      body: ProviderChange,
      detail: {
        tags,
        summary: "Change the settings of a bundled provider, and switch it on or off",
        description:
          "What is absent stays as it is. The provider checks its settings first; when it refuses them, nothing changes. They are used at once, and running work continues. What the configuration sets cannot be changed here (`setting_fixed`).",
        responses: answers(ProviderForm),
      },
    })
    .get("/providers/:id", ({ actor, params }) => readProvider(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Read a provider: health, machines, cost, limits, errors and orphans",
        responses: answers(ProviderState),
      },
    })
    .post("/providers/:id/limits", ({ actor, params, body }) => changeLimits(ctx, actor, params.id, body), {
      body: LimitsChange,
      detail: { tags, summary: "Change the limits of a provider", responses: answers(LimitsView) },
    })
    .post(
      "/providers/:id/stop",
      ({ actor, params, body }) => stopProvider(ctx, actor, params.id, body ?? { reason: "" }),
      {
        body: v.optional(v.nullable(StopProvider)),
        detail: {
          tags,
          summary: "Stop everything at a provider: trainings save, endpoints stop, nothing starts there",
          description: "People whose work it stops read the reason.",
          responses: answers(LimitsView),
        },
      },
    )
    .post("/providers/:id/resume", ({ actor, params }) => resumeProvider(ctx, actor, params.id), {
      detail: { tags, summary: "Let work start at a provider again", responses: answers(LimitsView) },
    })
    .get("/settings", ({ actor }) => settings(ctx, actor), {
      detail: {
        tags,
        summary: "List the settings in effect, and where each value came from",
        responses: answers(wholeListOf(SettingView)),
      },
    })
    .get("/settings/secrets", ({ actor }) => wholeList(listSecretSettings(ctx, actor)), {
      detail: {
        tags,
        summary: "List the secret settings without their values",
        responses: answers(wholeListOf(SecretSettingView)),
      },
    })
    .post("/settings/secrets", ({ actor, body }) => saveSecretSetting(ctx, actor, body), {
      body: SaveSecretSetting,
      detail: {
        tags,
        summary: "Store a secret setting encrypted; one in plain text is removed from its file",
        responses: answers(SecretSettingView),
      },
    })
    .delete("/settings/secrets/:name", ({ actor, params }) => removeSecret(ctx, actor, params.name), {
      detail: {
        tags,
        summary: "Remove a secret setting that is stored encrypted",
        responses: answers(deletedOf("secret_setting")),
      },
    })
    .get("/backups", ({ actor }) => list(ctx, actor), {
      detail: {
        tags,
        summary: "List the backups in the data directory and in the bucket",
        responses: answers(wholeListOf(BackupView)),
      },
    })
    .post("/backups", ({ actor }) => start(ctx, actor), {
      detail: {
        tags,
        summary: "Start a backup, in the data directory or in the bucket (backup_store)",
        responses: answers(StartedBackup),
      },
    })
    .delete("/backups/:id", ({ actor, params }) => remove(ctx, actor, params.id), {
      detail: {
        tags,
        summary: "Delete a backup of the data directory or of the bucket",
        responses: answers(deletedOf("backup")),
      },
    });
