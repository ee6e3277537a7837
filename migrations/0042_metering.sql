INSERT INTO `meter_interval` (`source`, `org`, `user_id`, `key_id`, `kind`, `meter`, `job_id`, `attempt_id`, `model`, `provider`, `from_ms`, `to_ms`, `quantity`, `unit_micros`, `micros`, `at`, `statement_id`)
SELECT 'legacy ' || u.attempt_id, u.org, u.user_id, j.key_id, u.kind, CASE WHEN u.gpus > 0 THEN 'gpu_seconds' ELSE 'cpu_seconds' END,
  u.job_id, u.attempt_id, j.spec ->> '$.base_model.id', u.provider, u.at - u.duration_ms, u.at, max(u.gpus, 1) * (u.duration_ms / 1000),
  CAST(round(u.price_per_hour * 1000000 / max(u.gpus, 1)) AS INTEGER), CAST(round(u.cost_usd * 1000000) AS INTEGER), u.at, 'legacy'
FROM `usage_line` u LEFT JOIN `job` j ON j.id = u.job_id ORDER BY u.at, u.rowid;
--> statement-breakpoint
INSERT INTO `meter_interval` (`source`, `org`, `user_id`, `key_id`, `kind`, `meter`, `job_id`, `attempt_id`, `model`, `provider`, `from_ms`, `to_ms`, `quantity`, `at`, `statement_id`)
SELECT 'legacy ' || u.attempt_id || ' tokens', u.org, u.user_id, j.key_id, u.kind, 'training_tokens',
  u.job_id, u.attempt_id, j.spec ->> '$.base_model.id', u.provider, u.at - u.duration_ms, u.at, u.tokens, u.at, 'legacy'
FROM `usage_line` u LEFT JOIN `job` j ON j.id = u.job_id WHERE u.tokens > 0 ORDER BY u.at, u.rowid;
--> statement-breakpoint
DROP TABLE `usage_line`;--> statement-breakpoint
ALTER TABLE `inference` ADD `purpose` text;--> statement-breakpoint
ALTER TABLE `attempt` ADD `metered_ms` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `attempt` ADD `worked` integer DEFAULT false NOT NULL;--> statement-breakpoint
UPDATE `attempt` SET `worked` = 1 WHERE `state` = 'running';
--> statement-breakpoint
DROP TRIGGER `meter_interval_update`;--> statement-breakpoint
CREATE TRIGGER `meter_interval_update` BEFORE UPDATE ON `meter_interval`
WHEN (OLD.statement_id IS NOT NULL AND NEW.statement_id IS NOT OLD.statement_id) OR NEW.n <> OLD.n OR NEW.source <> OLD.source
  OR NEW.org <> OLD.org OR NEW.quantity <> OLD.quantity OR NEW.free <> OLD.free OR NEW.micros <> OLD.micros
  OR NEW.unit_micros <> OLD.unit_micros OR NEW.from_ms <> OLD.from_ms OR NEW.to_ms <> OLD.to_ms OR NEW.meter <> OLD.meter
  OR NEW.kind <> OLD.kind OR NEW.reverses IS NOT OLD.reverses OR NEW.at <> OLD.at
  OR (NEW.model IS NOT OLD.model AND NEW.model IS NOT 'erased')
BEGIN SELECT RAISE(ABORT, 'rows of meter_interval are never changed'); END;
