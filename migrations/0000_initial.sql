CREATE TABLE `audit_log` (
	`seq` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`id` text NOT NULL,
	`org` text,
	`at` integer NOT NULL,
	`actor` text NOT NULL,
	`action` text NOT NULL,
	`target` text NOT NULL,
	`detail` text NOT NULL,
	`previous_hash` text NOT NULL,
	`hash` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `audit_log_id_unique` ON `audit_log` (`id`);--> statement-breakpoint
CREATE INDEX `audit_org` ON `audit_log` (`org`,`seq`);--> statement-breakpoint
CREATE INDEX `audit_target` ON `audit_log` (`target`,`seq`);--> statement-breakpoint
CREATE TABLE `installation` (
	`key` text PRIMARY KEY NOT NULL,
	`value` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `account` (
	`id` text PRIMARY KEY NOT NULL,
	`account_id` text NOT NULL,
	`provider_id` text NOT NULL,
	`user_id` text NOT NULL,
	`access_token` text,
	`refresh_token` text,
	`id_token` text,
	`access_token_expires_at` integer,
	`refresh_token_expires_at` integer,
	`scope` text,
	`password` text,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	FOREIGN KEY (`user_id`) REFERENCES `user`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `account_user` ON `account` (`user_id`);--> statement-breakpoint
CREATE TABLE `api_key` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`user_id` text NOT NULL,
	`name` text NOT NULL,
	`hash` text NOT NULL,
	`prefix` text NOT NULL,
	`created_at` integer NOT NULL,
	`last_used_at` integer,
	`expires_at` integer,
	`revoked_at` integer,
	FOREIGN KEY (`org`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`user_id`) REFERENCES `user`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE UNIQUE INDEX `api_key_hash_unique` ON `api_key` (`hash`);--> statement-breakpoint
CREATE INDEX `api_key_org` ON `api_key` (`org`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `api_key_user` ON `api_key` (`user_id`);--> statement-breakpoint
CREATE TABLE `invitation` (
	`id` text PRIMARY KEY NOT NULL,
	`organization_id` text NOT NULL,
	`email` text NOT NULL,
	`role` text,
	`status` text DEFAULT 'pending' NOT NULL,
	`token_hash` text,
	`expires_at` integer NOT NULL,
	`created_at` integer NOT NULL,
	`inviter_id` text NOT NULL,
	FOREIGN KEY (`organization_id`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`inviter_id`) REFERENCES `user`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE UNIQUE INDEX `invitation_token_hash_unique` ON `invitation` (`token_hash`);--> statement-breakpoint
CREATE TABLE `member` (
	`id` text PRIMARY KEY NOT NULL,
	`organization_id` text NOT NULL,
	`user_id` text NOT NULL,
	`role` text DEFAULT 'member' NOT NULL,
	`created_at` integer NOT NULL,
	FOREIGN KEY (`organization_id`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE cascade,
	FOREIGN KEY (`user_id`) REFERENCES `user`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE UNIQUE INDEX `member_org_user` ON `member` (`organization_id`,`user_id`);--> statement-breakpoint
CREATE INDEX `member_user` ON `member` (`user_id`);--> statement-breakpoint
CREATE TABLE `organization` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`slug` text NOT NULL,
	`logo` text,
	`metadata` text,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `organization_slug_unique` ON `organization` (`slug`);--> statement-breakpoint
CREATE TABLE `session` (
	`id` text PRIMARY KEY NOT NULL,
	`token` text NOT NULL,
	`user_id` text NOT NULL,
	`active_organization_id` text,
	`ip_address` text,
	`user_agent` text,
	`expires_at` integer NOT NULL,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL,
	FOREIGN KEY (`user_id`) REFERENCES `user`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE UNIQUE INDEX `session_token_unique` ON `session` (`token`);--> statement-breakpoint
CREATE INDEX `session_user` ON `session` (`user_id`);--> statement-breakpoint
CREATE TABLE `user` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`email` text NOT NULL,
	`email_verified` integer DEFAULT false NOT NULL,
	`image` text,
	`role` text DEFAULT 'member' NOT NULL,
	`banned` integer DEFAULT false NOT NULL,
	`two_factor_enabled` integer DEFAULT false NOT NULL,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `user_email_unique` ON `user` (`email`);--> statement-breakpoint
CREATE TABLE `verification` (
	`id` text PRIMARY KEY NOT NULL,
	`identifier` text NOT NULL,
	`value` text NOT NULL,
	`expires_at` integer NOT NULL,
	`created_at` integer NOT NULL,
	`updated_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `verification_identifier` ON `verification` (`identifier`);--> statement-breakpoint
CREATE TABLE `usage_line` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`job_id` text NOT NULL,
	`attempt_id` text NOT NULL,
	`user_id` text NOT NULL,
	`kind` text NOT NULL,
	`provider` text NOT NULL,
	`gpus` integer NOT NULL,
	`duration_ms` integer NOT NULL,
	`tokens` integer DEFAULT 0 NOT NULL,
	`price_per_hour` real NOT NULL,
	`cost_usd` real NOT NULL,
	`at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `usage_line_attempt_id_unique` ON `usage_line` (`attempt_id`);--> statement-breakpoint
CREATE INDEX `usage_line_org` ON `usage_line` (`org`,`at`);--> statement-breakpoint
CREATE TABLE `dataset` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`name` text NOT NULL,
	`description` text DEFAULT '' NOT NULL,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`deleted_at` integer
);
--> statement-breakpoint
CREATE INDEX `dataset_org` ON `dataset` (`org`,`created_at`,`id`);--> statement-breakpoint
CREATE TABLE `dataset_tokens` (
	`id` text PRIMARY KEY NOT NULL,
	`version_id` text NOT NULL,
	`base_model_id` text NOT NULL,
	`exact` integer NOT NULL,
	`stats` text NOT NULL,
	`created_at` integer NOT NULL,
	FOREIGN KEY (`version_id`) REFERENCES `dataset_version`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE UNIQUE INDEX `dataset_tokens_version_model` ON `dataset_tokens` (`version_id`,`base_model_id`);--> statement-breakpoint
CREATE TABLE `dataset_version` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`dataset_id` text NOT NULL,
	`number` integer NOT NULL,
	`file_id` text,
	`hash` text,
	`status` text NOT NULL,
	`format` text,
	`row_type` text DEFAULT 'chat' NOT NULL,
	`mapping` text,
	`split_seed` integer NOT NULL,
	`holdout_fraction_ppm` integer NOT NULL,
	`skip_bad` integer DEFAULT false NOT NULL,
	`rows` integer DEFAULT 0 NOT NULL,
	`train_rows` integer DEFAULT 0 NOT NULL,
	`holdout_rows` integer DEFAULT 0 NOT NULL,
	`bad_rows` integer DEFAULT 0 NOT NULL,
	`report` text,
	`bytes_read` integer DEFAULT 0 NOT NULL,
	`error` text,
	`created_at` integer NOT NULL,
	`finished_at` integer,
	FOREIGN KEY (`dataset_id`) REFERENCES `dataset`(`id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`file_id`) REFERENCES `file`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `dataset_version_number` ON `dataset_version` (`dataset_id`,`number`);--> statement-breakpoint
CREATE INDEX `dataset_version_file` ON `dataset_version` (`file_id`);--> statement-breakpoint
CREATE INDEX `dataset_version_org` ON `dataset_version` (`org`,`created_at`);--> statement-breakpoint
CREATE INDEX `dataset_version_status` ON `dataset_version` (`status`,`created_at`);--> statement-breakpoint
CREATE TABLE `file` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`filename` text NOT NULL,
	`purpose` text NOT NULL,
	`bytes` integer NOT NULL,
	`sha256` text NOT NULL,
	`status` text NOT NULL,
	`status_details` text,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer,
	`deleted_at` integer
);
--> statement-breakpoint
CREATE INDEX `file_org` ON `file` (`org`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `file_expires` ON `file` (`expires_at`);--> statement-breakpoint
CREATE TABLE `upload` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`filename` text NOT NULL,
	`purpose` text NOT NULL,
	`bytes` integer NOT NULL,
	`mime_type` text NOT NULL,
	`status` text NOT NULL,
	`file_expires_after_s` integer,
	`file_id` text,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `upload_status` ON `upload` (`status`,`expires_at`);--> statement-breakpoint
CREATE TABLE `upload_part` (
	`id` text PRIMARY KEY NOT NULL,
	`upload_id` text NOT NULL,
	`bytes` integer NOT NULL,
	`created_at` integer NOT NULL,
	FOREIGN KEY (`upload_id`) REFERENCES `upload`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `upload_part_upload` ON `upload_part` (`upload_id`);--> statement-breakpoint
CREATE TABLE `deployment` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`name` text NOT NULL,
	`model` text NOT NULL,
	`base_model_id` text NOT NULL,
	`wanted` text NOT NULL,
	`state` text NOT NULL,
	`job_id` text,
	`address` text,
	`on_demand` integer DEFAULT false NOT NULL,
	`idle_after_s` integer,
	`restarts` integer DEFAULT 0 NOT NULL,
	`error` text,
	`last_request_at` integer,
	`healthy_at` integer,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`deleted_at` integer
);
--> statement-breakpoint
CREATE INDEX `deployment_org` ON `deployment` (`org`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `deployment_job` ON `deployment` (`job_id`);--> statement-breakpoint
CREATE TABLE `answer` (
	`job_id` text NOT NULL,
	`row_id` integer NOT NULL,
	`side` text NOT NULL,
	`prompt` text NOT NULL,
	`expected` text NOT NULL,
	`output` text NOT NULL,
	`exact` integer NOT NULL,
	`loss` real,
	`token_accuracy` real,
	`tokens` integer NOT NULL,
	PRIMARY KEY(`job_id`, `row_id`, `side`)
);
--> statement-breakpoint
CREATE TABLE `evaluation` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`name` text NOT NULL,
	`job_id` text NOT NULL,
	`train_job_id` text,
	`base_model_id` text NOT NULL,
	`tuned_model` text,
	`version_id` text NOT NULL,
	`result` text,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `evaluation_job_id_unique` ON `evaluation` (`job_id`);--> statement-breakpoint
CREATE INDEX `evaluation_org` ON `evaluation` (`org`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `evaluation_train` ON `evaluation` (`train_job_id`);--> statement-breakpoint
CREATE TABLE `inference` (
	`n` integer PRIMARY KEY NOT NULL,
	`id` text NOT NULL,
	`org` text NOT NULL,
	`user_id` text NOT NULL,
	`key_id` text,
	`model` text NOT NULL,
	`deployment_id` text,
	`at` integer NOT NULL,
	`status` integer NOT NULL,
	`streamed` integer NOT NULL,
	`prompt_tokens` integer NOT NULL,
	`completion_tokens` integer NOT NULL,
	`first_token_ms` real,
	`total_ms` real NOT NULL,
	`overhead_ms` real,
	`finish` text
);
--> statement-breakpoint
CREATE INDEX `inference_org` ON `inference` (`org`,`at`);--> statement-breakpoint
CREATE INDEX `inference_deployment` ON `inference` (`deployment_id`,`at`);--> statement-breakpoint
CREATE INDEX `inference_key` ON `inference` (`key_id`,`at`);--> statement-breakpoint
CREATE TABLE `gpu` (
	`uuid` text PRIMARY KEY NOT NULL,
	`host_id` text NOT NULL,
	`position` integer NOT NULL,
	`model` text NOT NULL,
	`memory_mb` integer NOT NULL,
	`parent` text,
	`profile` text,
	`shares` integer DEFAULT 1 NOT NULL,
	`memory_used_mb` integer,
	`utilization` real,
	`temperature_c` real,
	`power_w` real,
	`power_limit_w` real,
	`ecc_errors` integer,
	`created_at` integer NOT NULL,
	`seen_at` integer NOT NULL,
	`lost_at` integer,
	FOREIGN KEY (`host_id`) REFERENCES `host`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `gpu_host` ON `gpu` (`host_id`,`position`);--> statement-breakpoint
CREATE TABLE `gpu_allocation` (
	`gpu_uuid` text NOT NULL,
	`share` integer NOT NULL,
	`attempt_id` text NOT NULL,
	`job_id` text NOT NULL,
	`created_at` integer NOT NULL,
	PRIMARY KEY(`gpu_uuid`, `share`)
);
--> statement-breakpoint
CREATE INDEX `gpu_allocation_attempt` ON `gpu_allocation` (`attempt_id`);--> statement-breakpoint
CREATE TABLE `host` (
	`id` text PRIMARY KEY NOT NULL,
	`provider` text NOT NULL,
	`name` text NOT NULL,
	`local` integer,
	`state` text DEFAULT 'ready' NOT NULL,
	`note` text,
	`maintenance_from` integer,
	`maintenance_until` integer,
	`cpus` integer NOT NULL,
	`memory_mb` integer NOT NULL,
	`memory_free_mb` integer,
	`load` real,
	`disk_mb` integer,
	`disk_free_mb` integer,
	`driver` text,
	`cuda` text,
	`problem` text,
	`remedy` text,
	`created_at` integer NOT NULL,
	`seen_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `host_sample` (
	`source` text NOT NULL,
	`at` integer NOT NULL,
	`utilization` real,
	`memory_used_mb` integer,
	`temperature_c` real,
	`power_w` real,
	PRIMARY KEY(`source`, `at`)
);
--> statement-breakpoint
CREATE INDEX `host_sample_at` ON `host_sample` (`at`);--> statement-breakpoint
CREATE TABLE `attempt` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`job_id` text NOT NULL,
	`number` integer NOT NULL,
	`state` text NOT NULL,
	`provider` text NOT NULL,
	`offer` text NOT NULL,
	`handle` text,
	`token_hash` text NOT NULL,
	`last_seq` integer DEFAULT 0 NOT NULL,
	`trim_step` integer,
	`gone_at` integer,
	`outcome` text,
	`exit_code` integer,
	`detail` text,
	`heartbeat_at` integer,
	`created_at` integer NOT NULL,
	`started_at` integer,
	`ended_at` integer,
	FOREIGN KEY (`job_id`) REFERENCES `job`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `attempt_token_hash_unique` ON `attempt` (`token_hash`);--> statement-breakpoint
CREATE UNIQUE INDEX `attempt_number` ON `attempt` (`job_id`,`number`);--> statement-breakpoint
CREATE INDEX `attempt_live` ON `attempt` (`gone_at`,`state`);--> statement-breakpoint
CREATE TABLE `command` (
	`id` text PRIMARY KEY NOT NULL,
	`job_id` text NOT NULL,
	`type` text NOT NULL,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`done_at` integer,
	FOREIGN KEY (`job_id`) REFERENCES `job`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `command_job` ON `command` (`job_id`,`done_at`);--> statement-breakpoint
CREATE TABLE `job` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`kind` text NOT NULL,
	`name` text NOT NULL,
	`state` text NOT NULL,
	`spec` text NOT NULL,
	`request` text NOT NULL,
	`metadata` text NOT NULL,
	`parent_id` text,
	`priority` integer DEFAULT 0 NOT NULL,
	`start_after` integer,
	`window` text,
	`deadline` integer,
	`estimate_low_s` integer,
	`estimate_high_s` integer,
	`yield_for` text,
	`attempts` integer DEFAULT 0 NOT NULL,
	`not_before` integer DEFAULT 0 NOT NULL,
	`lease_token` text,
	`lease_until` integer DEFAULT 0 NOT NULL,
	`progress` text NOT NULL,
	`result` text,
	`error` text,
	`created_by` text NOT NULL,
	`key_id` text,
	`request_hash` text,
	`idempotency_key` text,
	`created_at` integer NOT NULL,
	`queued_at` integer,
	`started_at` integer,
	`finished_at` integer,
	`progress_at` integer
);
--> statement-breakpoint
CREATE INDEX `job_org` ON `job` (`org`,`kind`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `job_org_all` ON `job` (`org`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `job_state` ON `job` (`state`,`not_before`);--> statement-breakpoint
CREATE INDEX `job_parent` ON `job` (`parent_id`);--> statement-breakpoint
CREATE INDEX `job_request` ON `job` (`org`,`request_hash`);--> statement-breakpoint
CREATE UNIQUE INDEX `job_idempotency` ON `job` (`org`,`idempotency_key`);--> statement-breakpoint
CREATE TABLE `batch` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`job_id` text NOT NULL,
	`attempt_id` text NOT NULL,
	`first_seq` integer NOT NULL,
	`last_seq` integer NOT NULL,
	`at` integer NOT NULL,
	`points` integer DEFAULT 0 NOT NULL,
	`first_step` integer,
	`last_step` integer,
	`first_log` integer,
	`last_log` integer
);
--> statement-breakpoint
CREATE INDEX `batch_job` ON `batch` (`job_id`,`id`);--> statement-breakpoint
CREATE TABLE `event` (
	`id` text PRIMARY KEY NOT NULL,
	`n` integer NOT NULL,
	`job_id` text NOT NULL,
	`attempt_id` text,
	`batch_id` integer,
	`at` integer NOT NULL,
	`type` text NOT NULL,
	`level` text DEFAULT 'info' NOT NULL,
	`message` text NOT NULL,
	`step` integer,
	`data` text
);
--> statement-breakpoint
CREATE UNIQUE INDEX `event_job_n` ON `event` (`job_id`,`n`);--> statement-breakpoint
CREATE INDEX `event_job_type` ON `event` (`job_id`,`type`,`n`);--> statement-breakpoint
CREATE TABLE `log_line` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`job_id` text NOT NULL,
	`attempt_id` text NOT NULL,
	`batch_id` integer NOT NULL,
	`at` integer NOT NULL,
	`level` text NOT NULL,
	`message` text NOT NULL
);
--> statement-breakpoint
CREATE INDEX `log_line_job` ON `log_line` (`job_id`,`id`);--> statement-breakpoint
CREATE TABLE `point` (
	`series_id` integer NOT NULL,
	`step` integer NOT NULL,
	`value` real,
	`at` integer NOT NULL,
	`batch_id` integer NOT NULL,
	PRIMARY KEY(`series_id`, `step`)
);
--> statement-breakpoint
CREATE TABLE `point_bucket` (
	`series_id` integer NOT NULL,
	`width` integer NOT NULL,
	`bucket` integer NOT NULL,
	`min_step` integer NOT NULL,
	`min_value` real,
	`max_step` integer NOT NULL,
	`max_value` real,
	`count` integer NOT NULL,
	PRIMARY KEY(`series_id`, `width`, `bucket`)
);
--> statement-breakpoint
CREATE TABLE `series` (
	`id` integer PRIMARY KEY AUTOINCREMENT NOT NULL,
	`job_id` text NOT NULL,
	`key` text NOT NULL,
	`points` integer DEFAULT 0 NOT NULL,
	`last_step` integer,
	`last_value` real
);
--> statement-breakpoint
CREATE UNIQUE INDEX `series_job_key` ON `series` (`job_id`,`key`);--> statement-breakpoint
CREATE TABLE `artifact` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`job_id` text NOT NULL,
	`attempt_id` text NOT NULL,
	`kind` text NOT NULL,
	`step` integer NOT NULL,
	`metrics` text NOT NULL,
	`files` text NOT NULL,
	`manifest_hash` text NOT NULL,
	`bytes` integer NOT NULL,
	`status` text NOT NULL,
	`created_at` integer NOT NULL,
	`completed_at` integer
);
--> statement-breakpoint
CREATE INDEX `artifact_job` ON `artifact` (`job_id`,`kind`,`step`);--> statement-breakpoint
CREATE UNIQUE INDEX `artifact_same` ON `artifact` (`attempt_id`,`kind`,`step`,`manifest_hash`);--> statement-breakpoint
CREATE TABLE `base_model` (
	`id` text PRIMARY KEY NOT NULL,
	`name` text NOT NULL,
	`source` text NOT NULL,
	`source_ref` text NOT NULL,
	`revision` text NOT NULL,
	`license` text NOT NULL,
	`status` text NOT NULL,
	`progress` text,
	`error` text,
	`hash` text,
	`files` text,
	`architecture` text,
	`installed_by` text NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `checkpoint` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`job_id` text NOT NULL,
	`artifact_id` text NOT NULL,
	`step` integer NOT NULL,
	`model` text NOT NULL,
	`metrics` text NOT NULL,
	`created_at` integer NOT NULL,
	FOREIGN KEY (`artifact_id`) REFERENCES `artifact`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE UNIQUE INDEX `checkpoint_model_unique` ON `checkpoint` (`model`);--> statement-breakpoint
CREATE UNIQUE INDEX `checkpoint_job_step` ON `checkpoint` (`job_id`,`step`);--> statement-breakpoint
CREATE TABLE `license_acceptance` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`base_model_id` text NOT NULL,
	`license` text NOT NULL,
	`user_id` text NOT NULL,
	`at` integer NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `license_org_model` ON `license_acceptance` (`org`,`base_model_id`);--> statement-breakpoint
CREATE TABLE `model` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`name` text NOT NULL,
	`base_model_id` text NOT NULL,
	`job_id` text NOT NULL,
	`checkpoint_id` text NOT NULL,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`deleted_at` integer,
	FOREIGN KEY (`checkpoint_id`) REFERENCES `checkpoint`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `model_org` ON `model` (`org`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `model_job` ON `model` (`job_id`);--> statement-breakpoint
CREATE TABLE `team_share` (
	`org` text PRIMARY KEY NOT NULL,
	`weight` real DEFAULT 1 NOT NULL,
	`max_gpus` integer,
	`month_gpu_hours` real,
	`updated_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `sweep` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`name` text NOT NULL,
	`state` text NOT NULL,
	`request` text NOT NULL,
	`error` text,
	`created_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`finished_at` integer
);
--> statement-breakpoint
CREATE INDEX `sweep_org` ON `sweep` (`org`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `sweep_state` ON `sweep` (`state`);--> statement-breakpoint
CREATE TABLE `trial` (
	`sweep_id` text NOT NULL,
	`number` integer NOT NULL,
	`values` text NOT NULL,
	`state` text NOT NULL,
	`reason` text,
	`job_id` text,
	`rungs` text NOT NULL,
	`decisions` text NOT NULL,
	`score` real,
	PRIMARY KEY(`sweep_id`, `number`),
	FOREIGN KEY (`sweep_id`) REFERENCES `sweep`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `trial_job` ON `trial` (`job_id`);