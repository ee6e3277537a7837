ALTER TABLE `dataset_version` ADD `bytes` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
UPDATE `dataset_version` SET `bytes` = coalesce((SELECT `bytes` FROM `file` WHERE `file`.`id` = `dataset_version`.`file_id`), 0)
WHERE `status` IN ('validating', 'ready') AND `dataset_id` IN (SELECT `id` FROM `dataset` WHERE `deleted_at` IS NULL);--> statement-breakpoint
CREATE INDEX `dataset_version_quota` ON `dataset_version` (`org`,`bytes`) WHERE bytes > 0;--> statement-breakpoint
CREATE INDEX `dataset_quota` ON `dataset` (`org`,`deleted_at`);--> statement-breakpoint
CREATE INDEX `file_quota` ON `file` (`org`,`deleted_at`,`bytes`);--> statement-breakpoint
CREATE INDEX `upload_quota` ON `upload` (`org`,`status`,`expires_at`,`bytes`);--> statement-breakpoint
CREATE INDEX `job_quota` ON `job` (`org`,`state`);--> statement-breakpoint
CREATE INDEX `artifact_quota` ON `artifact` (`org`,`status`,`bytes`);
