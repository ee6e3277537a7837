CREATE TABLE `usage_day` (
	`org` text NOT NULL,
	`day` integer NOT NULL,
	`meter` text NOT NULL,
	`kind` text NOT NULL,
	`user_id` text NOT NULL,
	`key_id` text NOT NULL,
	`job_id` text NOT NULL,
	`model` text NOT NULL,
	`provider` text NOT NULL,
	`gpu_model` text NOT NULL,
	`quantity` integer NOT NULL,
	`held` integer NOT NULL,
	`overhead` integer NOT NULL,
	`micros` integer NOT NULL,
	PRIMARY KEY(`org`, `day`, `meter`, `kind`, `user_id`, `key_id`, `job_id`, `model`, `provider`, `gpu_model`)
) WITHOUT ROWID;
--> statement-breakpoint
INSERT INTO `usage_day`
SELECT `org`, `from_ms` - `from_ms` % 86400000, `meter`, `kind`, coalesce(`user_id`, ''), coalesce(`key_id`, ''), coalesce(`job_id`, ''),
  coalesce(`model`, ''), coalesce(`provider`, ''), coalesce(`gpu_model`, ''), sum(`quantity`),
  sum(CASE WHEN `reverses` IS NULL THEN `quantity` ELSE 0 END),
  sum(CASE WHEN `free_reason` IS NULL OR `free_reason` IN ('allowance', 'own_hosts') THEN 0 ELSE `quantity` END), sum(`micros`)
FROM `meter_interval` WHERE true GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;
--> statement-breakpoint
CREATE TRIGGER `meter_interval_day` AFTER INSERT ON `meter_interval` BEGIN
INSERT INTO `usage_day` VALUES (NEW.org, NEW.from_ms - NEW.from_ms % 86400000, NEW.meter, NEW.kind, coalesce(NEW.user_id, ''), coalesce(NEW.key_id, ''),
  coalesce(NEW.job_id, ''), coalesce(NEW.model, ''), coalesce(NEW.provider, ''), coalesce(NEW.gpu_model, ''), NEW.quantity,
  CASE WHEN NEW.reverses IS NULL THEN NEW.quantity ELSE 0 END,
  CASE WHEN NEW.free_reason IS NULL OR NEW.free_reason IN ('allowance', 'own_hosts') THEN 0 ELSE NEW.quantity END, NEW.micros)
ON CONFLICT DO UPDATE SET `quantity` = `quantity` + excluded.quantity, `held` = `held` + excluded.held,
  `overhead` = `overhead` + excluded.overhead, `micros` = `micros` + excluded.micros;
END;
--> statement-breakpoint
CREATE TRIGGER `meter_interval_day_model` AFTER UPDATE OF `model` ON `meter_interval` WHEN NEW.model IS NOT OLD.model BEGIN
UPDATE `usage_day` SET `quantity` = `quantity` - OLD.quantity, `held` = `held` - CASE WHEN OLD.reverses IS NULL THEN OLD.quantity ELSE 0 END,
  `overhead` = `overhead` - CASE WHEN OLD.free_reason IS NULL OR OLD.free_reason IN ('allowance', 'own_hosts') THEN 0 ELSE OLD.quantity END,
  `micros` = `micros` - OLD.micros
WHERE `org` = OLD.org AND `day` = OLD.from_ms - OLD.from_ms % 86400000 AND `meter` = OLD.meter AND `kind` = OLD.kind
  AND `user_id` = coalesce(OLD.user_id, '') AND `key_id` = coalesce(OLD.key_id, '') AND `job_id` = coalesce(OLD.job_id, '')
  AND `model` = coalesce(OLD.model, '') AND `provider` = coalesce(OLD.provider, '') AND `gpu_model` = coalesce(OLD.gpu_model, '');
DELETE FROM `usage_day` WHERE `org` = OLD.org AND `day` = OLD.from_ms - OLD.from_ms % 86400000 AND `meter` = OLD.meter AND `kind` = OLD.kind
  AND `user_id` = coalesce(OLD.user_id, '') AND `key_id` = coalesce(OLD.key_id, '') AND `job_id` = coalesce(OLD.job_id, '')
  AND `model` = coalesce(OLD.model, '') AND `provider` = coalesce(OLD.provider, '') AND `gpu_model` = coalesce(OLD.gpu_model, '')
  AND `quantity` = 0 AND `held` = 0 AND `overhead` = 0 AND `micros` = 0;
INSERT INTO `usage_day` VALUES (NEW.org, NEW.from_ms - NEW.from_ms % 86400000, NEW.meter, NEW.kind, coalesce(NEW.user_id, ''), coalesce(NEW.key_id, ''),
  coalesce(NEW.job_id, ''), coalesce(NEW.model, ''), coalesce(NEW.provider, ''), coalesce(NEW.gpu_model, ''), NEW.quantity,
  CASE WHEN NEW.reverses IS NULL THEN NEW.quantity ELSE 0 END,
  CASE WHEN NEW.free_reason IS NULL OR NEW.free_reason IN ('allowance', 'own_hosts') THEN 0 ELSE NEW.quantity END, NEW.micros)
ON CONFLICT DO UPDATE SET `quantity` = `quantity` + excluded.quantity, `held` = `held` + excluded.held,
  `overhead` = `overhead` + excluded.overhead, `micros` = `micros` + excluded.micros;
END;
