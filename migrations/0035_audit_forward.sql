CREATE TABLE `audit_forward` (
	`kind` text PRIMARY KEY NOT NULL,
	`settings` text NOT NULL,
	`url` text,
	`secret` text,
	`position` integer NOT NULL,
	`attempts` integer DEFAULT 0 NOT NULL,
	`next_at` integer NOT NULL,
	`last_error` text,
	`last_error_at` integer,
	`last_sent_at` integer,
	`updated_at` integer NOT NULL
);
