/**
 * The script that a rented machine runs at its first boot: it pulls the trainer image by digest, runs it, and ends the
 * machine when the container exits, when the deadline passes, or when AWS takes the machine back.
 */
import type { LaunchContext, LaunchSpec, ProviderHost } from "../../src/contract/provider.ts";
import { rentedEnv } from "../shared/rented.ts";

/** EC2 accepts no more, before base64. */
const MAX_BYTES = 16_384;
/** The shortest life of a machine, so that a wrong clock does not end it at once. */
const MIN_LIFE_S = 300;

const quote = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;

/**
 * The user data for one launch. Its only secret is the token, which is valid once and for minutes.
 * @param image with its digest
 * @throws `invalid` when a variable does not fit on a line, or the script is too long for EC2
 */
export function userData(host: ProviderHost, spec: LaunchSpec, context: LaunchContext, image: string): string {
  const env = rentedEnv(host, spec, context);
  for (const [name, value] of Object.entries(env))
    if (!/^[A-Za-z_]\w*$/.test(name) || /[\r\n\0]/.test(value))
      throw host.error("invalid", `The variable ${name} cannot be passed to a machine: it must be one line.`);
  const lifeS = Math.max(MIN_LIFE_S, Math.ceil((context.deadline - host.clock.now()) / 1000));
  const script = `#!/bin/sh
# Fine-Tune Lab: runs one container, then ends this machine.
umask 077
image=${quote(image)}
end() { sync; poweroff || poweroff -f; sleep 60; poweroff -f; }
# The deadline, whatever happens below. A wrong clock changes it within bounds.
left=$((${Math.floor(context.deadline / 1000)} - $(date +%s)))
[ "$left" -le ${lifeS} ] || left=${lifeS}
[ "$left" -ge ${MIN_LIFE_S} ] || left=${MIN_LIFE_S}
systemd-run --unit=ftl-deadline --on-active="\${left}s" --timer-property=AccuracySec=1s /sbin/poweroff -f
( sleep "$left"; poweroff -f ) &
mkdir -p /run/ftl /opt/ftl/scratch
chown 1000:1000 /opt/ftl/scratch
cat > /run/ftl/env <<'FTL_ENV'
${Object.entries(env)
  .map(([name, value]) => `${name}=${value}`)
  .join("\n")}
FTL_ENV
n=0
until docker info > /dev/null 2>&1; do n=$((n + 1)); [ "$n" -lt 60 ] || end; sleep 5; done
n=0
until docker pull -q "$image"; do n=$((n + 1)); [ "$n" -lt 10 ] || end; sleep 15; done
docker run -d --name ftl${spec.need.gpus > 0 ? " --gpus all" : ""} --ipc=host --ulimit memlock=-1 \\
  --ulimit stack=67108864 --cap-drop ALL --security-opt no-new-privileges --env-file /run/ftl/env \\
  -v /opt/ftl/scratch:/scratch "$image" || end
rm -f /run/ftl/env
# AWS announces two minutes before that it takes a spot machine back: the trainer saves a checkpoint and stops.
meta=http://169.254.169.254/latest
( while sleep 5; do
    key=$(curl -sf -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$meta/api/token") || continue
    curl -sf -m 2 -o /dev/null -H "X-aws-ec2-metadata-token: $key" "$meta/meta-data/spot/instance-action" || continue
    docker stop -t 110 ftl
    break
  done ) &
docker wait ftl
end
`;
  const bytes = Buffer.byteLength(script);
  if (bytes > MAX_BYTES)
    throw host.error("invalid", `The start script has ${bytes} bytes; EC2 accepts ${MAX_BYTES}. Pass fewer variables.`);
  return Buffer.from(script).toString("base64");
}
