/** What must hold of every container whatever a job says: each broken wall as one line. */
import { sep } from "node:path";
import type Docker from "dockerode";

const SHELLS = /(^|\/)(sh|bash|dash|zsh|ash|busybox|env)$/;

/** @returns the walls that are missing; empty when all stand. `root` is the data directory. */
export function brokenWalls(container: Docker.ContainerCreateOptions, root: string): string[] {
  const broken: string[] = [];
  const must = (holds: boolean, what: string) => {
    if (!holds) broken.push(what);
  };
  const host = (container.HostConfig ?? {}) as Docker.HostConfig & Record<string, unknown>;
  must(host.Privileged === false, "privileged");
  must(host.ReadonlyRootfs === true, "writable root");
  must(JSON.stringify(host.CapDrop) === '["ALL"]' && !host.CapAdd?.length, "capabilities");
  must(JSON.stringify(host.SecurityOpt) === '["no-new-privileges:true"]', "new privileges, or no seccomp");
  must(host.NetworkMode === "none", `network ${host.NetworkMode}`);
  for (const name of ["PidMode", "UTSMode", "UsernsMode", "IpcMode", "CgroupnsMode"] as const) {
    const mode = String(host[name] ?? "");
    must(mode === "" || mode === "private", `${name} ${mode}`);
  }
  must(host.IpcMode === "private", "shared memory of others");
  must(/^[1-9]\d*:[1-9]\d*$/.test(container.User ?? ""), `user ${container.User}`);
  must((host.Memory ?? 0) > 0 && host.MemorySwap === host.Memory, "memory without a limit");
  must((host.NanoCpus ?? 0) > 0, "processors without a limit");
  must((host.PidsLimit ?? 0) > 0, "processes without a limit");
  must((host.ShmSize ?? 0) > 0, "shared memory without a limit");
  must(
    host.LogConfig?.Type === "json-file" && /^\d+m$/.test(host.LogConfig.Config["max-size"]),
    "logs without a limit",
  );
  must(host.OomKillDisable === false && host.AutoRemove === false, "ends nobody sees");
  must(host.RestartPolicy?.Name === "no", "restarts");
  must(host.Init === true, "no init");
  must(!host.Binds?.length && !host.Devices?.length && !host.VolumesFrom?.length, "binds, devices or foreign volumes");
  must(!host.PortBindings && !host.PublishAllPorts && !container.ExposedPorts, "ports");
  for (const mount of host.Mounts ?? []) {
    must(mount.Type === "bind" || mount.Type === "volume", `mount of type ${mount.Type}`);
    if (mount.Type !== "bind") continue;
    must(mount.Source.startsWith(root + sep) && !mount.Source.includes(".."), `bind of ${mount.Source}`);
    must(!/docker\.sock|admin\.sock|\/secret$|lab\.db/.test(mount.Source), `bind of ${mount.Source}`);
    must(mount.ReadOnly === true || /\/scratch$/.test(mount.Source), `writable bind of ${mount.Source}`);
  }
  for (const options of Object.values((host.Tmpfs ?? {}) as Record<string, string>))
    must(/(^|,)size=\d+m(,|$)/.test(options) && /nosuid/.test(options) && /nodev/.test(options), `tmpfs ${options}`);
  const argv = container.Entrypoint;
  must(Array.isArray(argv) && argv.length > 0 && JSON.stringify(container.Cmd) === "[]", "a command as text");
  must(!SHELLS.test(String(argv?.[0])), `a shell: ${String(argv)}`);
  must(JSON.stringify(argv) === '["python3","-m","finetune_trainer"]', `another program: ${JSON.stringify(argv)}`);
  for (const one of container.Env ?? [])
    must(/^[A-Z][A-Z0-9_]*=/.test(one) && !/^(LD_|PYTHONSTARTUP|PYTHONINSPECT|BASH_ENV)/.test(one), `variable ${one}`);
  return broken;
}
