CREATE TABLE `stored_answer` (
	`id` text PRIMARY KEY NOT NULL,
	`org` text NOT NULL,
	`user_id` text NOT NULL,
	`kind` text NOT NULL,
	`model` text NOT NULL,
	`previous_id` text,
	`metadata` text NOT NULL,
	`input` text NOT NULL,
	`answer` text NOT NULL,
	`bytes` integer NOT NULL,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL,
	FOREIGN KEY (`org`) REFERENCES `organization`(`id`) ON UPDATE no action ON DELETE cascade
);
--> statement-breakpoint
CREATE INDEX `stored_answer_list` ON `stored_answer` (`org`,`kind`,`created_at`,`id`);--> statement-breakpoint
CREATE INDEX `stored_answer_expiry` ON `stored_answer` (`expires_at`);--> statement-breakpoint
CREATE INDEX `stored_answer_quota` ON `stored_answer` (`org`,`bytes`);