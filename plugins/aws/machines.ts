/** Finds machines by their tags, and says in which state they are. */
import {
  DescribeInstancesCommand,
  type Filter,
  type Instance,
  type Tag,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import type { Handle, WorkState, WorkStatus } from "../../src/contract/provider.ts";
import { type Parts, pages } from "./clients.ts";
import { codeOf } from "./errors.ts";

/** Tags of everything that this provider creates. Labels of a launch follow `ftl:label:`. */
export const TAG = { installation: "ftl:installation", key: "ftl:key", expires: "ftl:expires-at", label: "ftl:label:" };

/** How long EC2 may not yet show what it has created, in milliseconds. */
const SETTLE_MS = 120_000;

export const ABSENT: WorkStatus = { state: "absent", exitCode: null, reason: null, startedAt: null, endedAt: null };

/** States of machines that may cost money. */
export const PRESENT = ["pending", "running", "shutting-down", "stopping", "stopped"];
const LIVE = ["pending", "running"];

export const isKey = (key: unknown): key is string => typeof key === "string" && /^[a-z0-9-]{1,64}$/.test(key);

export const tagFilter = (name: string, value: string): Filter => ({ Name: `tag:${name}`, Values: [value] });

export function tagOf(tags: Tag[] | undefined, name: string): string | null {
  return tags?.find(({ Key }) => Key === name)?.Value ?? null;
}

/** The labels of the launch. */
export function labelsOf(tags: Tag[] = []): Record<string, string> {
  return Object.fromEntries(
    tags.flatMap(({ Key = "", Value = "" }) =>
      Key.startsWith(TAG.label) ? [[Key.slice(TAG.label.length), Value]] : [],
    ),
  );
}

/** Every machine of a region with these properties, on all pages. */
export function machinesIn(parts: Parts, region: string, filters: Filter[]): Promise<Instance[]> {
  return pages(async (NextToken) => {
    const command = new DescribeInstancesCommand({ Filters: filters, MaxResults: 500, NextToken });
    const answer = await parts.call(region, () => parts.ec2(region).send(command));
    const items = (answer.Reservations ?? []).flatMap(({ Instances }) => Instances ?? []);
    return { items, token: answer.NextToken };
  });
}

/** Machines of one key in a region, whatever their state. */
export const machinesOfKey = (parts: Parts, region: string, key: string): Promise<Instance[]> =>
  machinesIn(parts, region, [tagFilter(TAG.installation, parts.host.installation), tagFilter(TAG.key, key)]);

export const nameOf = (one: Instance) => one.State?.Name ?? "";

const byId = (a: Instance, b: Instance) => ((a.InstanceId ?? "") < (b.InstanceId ?? "") ? -1 : 1);

/** Ends machines; those that are no longer known are gone. */
export async function endMachines(parts: Parts, region: string, ids: string[]): Promise<void> {
  if (ids.length === 0) return;
  try {
    const command = new TerminateInstancesCommand({ InstanceIds: ids });
    await parts.call(region, () => parts.ec2(region).send(command));
  } catch (error) {
    if (codeOf(error) !== "InvalidInstanceID.NotFound") throw error;
    // One unknown id fails the whole request.
    if (ids.length > 1) for (const id of ids) await endMachines(parts, region, [id]);
  }
}

/**
 * The machine of a key, out of everything found with it. EC2 prevents a second one by the client token; should there be
 * one, the machine with the smallest id stays.
 */
export async function onlyOne(parts: Parts, region: string, found: Instance[]): Promise<Instance | null> {
  const sorted = [...found].sort(byId);
  const [first, ...others] = sorted.filter((one) => LIVE.includes(nameOf(one)));
  if (others.length > 0) {
    const ids = others.map(({ InstanceId = "" }) => InstanceId);
    parts.host.log("warn", "a launch has two machines; one is terminated", { region, machines: ids });
    await endMachines(parts, region, ids);
  }
  return first ?? sorted.find((one) => PRESENT.includes(nameOf(one))) ?? sorted.at(-1) ?? null;
}

/** The handle of a machine. It is the same for every launch of the key. */
export function handleOf(region: string, key: string, one: Instance): Handle {
  return {
    provider: "aws",
    key,
    region,
    instance: one.InstanceId ?? "",
    launchedAt: one.LaunchTime ? one.LaunchTime.getTime() : 0,
  };
}

/** True for a machine that was created a moment ago: EC2 may not show it yet. */
export const isYoung = ({ host }: Parts, { launchedAt }: Handle) =>
  typeof launchedAt === "number" && host.clock.now() - launchedAt < SETTLE_MS;

export function workState(one: Instance): WorkState {
  const name = nameOf(one);
  return name === "pending" ? "starting" : name === "running" ? "running" : "exited";
}

/** AWS's codes for ends that are not the fault of the work. */
const TAKEN = /^Server\./;
/** The end that the server asked for. */
const ASKED = /^Client\.UserInitiated/;

const REASONS: Record<string, string> = {
  "Server.SpotInstanceTermination": "AWS took the spot machine back",
  "Server.SpotInstanceShutdown": "AWS took the spot machine back",
  "Server.InsufficientInstanceCapacity": "AWS had no free machine of this type",
  "Server.InternalError": "the machine failed at AWS",
  "Server.ScheduledStop": "AWS retired the machine",
  "Client.InstanceInitiatedShutdown": "the machine ended itself",
  "Client.VolumeLimitExceeded": "the account's quota for volumes was reached",
  "Client.InvalidSnapshot.NotFound": "the snapshot of the machine image is missing",
};

/** "User initiated (2026-11-30 19:00:00 GMT)" */
function endOf(one: Instance): number | null {
  const [, when] = /\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)/.exec(one.StateTransitionReason ?? "") ?? [];
  return when ? Date.parse(`${when.replace(" ", "T")}Z`) : null;
}

/** What the scheduler learns about a machine. */
export function statusOf(one: Instance): WorkStatus {
  const state = workState(one);
  const startedAt = one.LaunchTime?.getTime() ?? null;
  const machine = one.InstanceId;
  const cost = { machine, charged: state !== "exited", ...(startedAt === null ? {} : { chargedFrom: startedAt }) };
  if (state !== "exited") return { state, exitCode: null, reason: null, startedAt, endedAt: null, ...cost };
  const { Code: code = "", Message: message = "" } = one.StateReason ?? {};
  if (nameOf(one) === "terminated" && (ASKED.test(code) || code === ""))
    return { ...ABSENT, startedAt, endedAt: endOf(one), ...cost };
  const reason = `${REASONS[code] ?? message ?? "the machine ended"}${code ? ` (${code})` : ""}`;
  return { state, exitCode: null, reason, startedAt, endedAt: endOf(one), ...cost, preempted: TAKEN.test(code) };
}
