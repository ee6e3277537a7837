ALTER TABLE `dataset` ADD `stays_local` integer DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE `attempt` ADD `bootstrap_hash` text;--> statement-breakpoint
ALTER TABLE `attempt` ADD `bootstrap_until` integer;--> statement-breakpoint
ALTER TABLE `attempt` ADD `bootstrap_nonce_hash` text;--> statement-breakpoint
ALTER TABLE `attempt` ADD `running_at` integer;--> statement-breakpoint
ALTER TABLE `attempt` ADD `contact_at` integer;--> statement-breakpoint
CREATE UNIQUE INDEX `attempt_bootstrap_hash_unique` ON `attempt` (`bootstrap_hash`);