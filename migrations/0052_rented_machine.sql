CREATE TABLE `rented_machine` (
	`id` text PRIMARY KEY NOT NULL,
	`provider` text NOT NULL,
	`machine` text NOT NULL,
	`key` text NOT NULL,
	`attempt_id` text,
	`gpu_model` text,
	`listed` integer DEFAULT false NOT NULL,
	`price_per_hour` real NOT NULL,
	`charged_from` integer NOT NULL,
	`ended_at` integer,
	`metered_ms` integer DEFAULT 0 NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `rented_machine_open` ON `rented_machine` (`provider`,`machine`) WHERE ended_at is null;--> statement-breakpoint
CREATE INDEX `rented_machine_attempt` ON `rented_machine` (`attempt_id`);--> statement-breakpoint
CREATE INDEX `rented_machine_known` ON `rented_machine` (`provider`,`machine`,`ended_at`);