/** The routes of every room: the JSON API and the pages. */
import type { AnyElysia } from "elysia";
import { announcementAdminPages } from "../views/pages/admin/announcement-routes.tsx";
import { betaPages } from "../views/pages/admin/beta-routes.tsx";
import { adminBillingPages } from "../views/pages/admin/billing-routes.tsx";
import { deletionAdminPages } from "../views/pages/admin/deletion-routes.tsx";
import { deliveryPages } from "../views/pages/admin/delivery-routes.tsx";
import { forwardingPages } from "../views/pages/admin/forwarding-routes.tsx";
import { incidentPages } from "../views/pages/admin/incident-routes.tsx";
import { mailPages } from "../views/pages/admin/mail-routes.tsx";
import { maintenanceAdminPages } from "../views/pages/admin/maintenance-routes.tsx";
import { adminModerationPages } from "../views/pages/admin/moderation-routes.tsx";
import { adminPaymentPages } from "../views/pages/admin/payment-routes.tsx";
import { priceAdminPages } from "../views/pages/admin/price-routes.tsx";
import { providerSettingsPages } from "../views/pages/admin/provider-routes.tsx";
import { adminPages } from "../views/pages/admin/routes.tsx";
import { ssoAdminPages } from "../views/pages/admin/sso-routes.tsx";
import { teamPages } from "../views/pages/admin/team-routes.tsx";
import { adminTermsPages } from "../views/pages/admin/terms-routes.tsx";
import { userPages } from "../views/pages/admin/user-routes.tsx";
import { announcementPages } from "../views/pages/announcements/routes.tsx";
import { archivesPages } from "../views/pages/archives/routes.tsx";
import { mailLinkPages } from "../views/pages/auth/mail-link-routes.tsx";
import { authPages } from "../views/pages/auth/routes.tsx";
import { ssoPages } from "../views/pages/auth/sso-routes.tsx";
import { paymentPages } from "../views/pages/billing/payment-routes.tsx";
import { statementPages } from "../views/pages/billing/routes.tsx";
import { importsPages } from "../views/pages/datasets/import-routes.tsx";
import { inspectionPages } from "../views/pages/datasets/inspection-routes.tsx";
import { mappingPages } from "../views/pages/datasets/mapping-routes.tsx";
import { personalDataPages } from "../views/pages/datasets/personal-data-routes.tsx";
import { datasetRepairPages } from "../views/pages/datasets/repair-routes.tsx";
import { datasetsPages } from "../views/pages/datasets/routes.tsx";
import { deploymentsPages } from "../views/pages/deployments/routes.tsx";
import { evaluationsPages } from "../views/pages/evaluations/routes.tsx";
import { homePages } from "../views/pages/home/routes.tsx";
import { computePages } from "../views/pages/hosts/routes.tsx";
import { jobsPages } from "../views/pages/jobs/routes.tsx";
import { exportsPages } from "../views/pages/models/exports-routes.tsx";
import { pushesPages } from "../views/pages/models/pushes-routes.tsx";
import { modelsPages } from "../views/pages/models/routes.tsx";
import { moderationPages } from "../views/pages/moderation/routes.tsx";
import { noticesPages } from "../views/pages/notices/routes.tsx";
import { gatewayPages } from "../views/pages/playground/routes.tsx";
import { pricingPages } from "../views/pages/pricing/routes.tsx";
import { providerPages } from "../views/pages/providers/routes.tsx";
import { queuePages } from "../views/pages/queue/routes.tsx";
import { deletionPages } from "../views/pages/settings/deletion-routes.tsx";
import { emailPages } from "../views/pages/settings/email-routes.tsx";
import { notificationPages } from "../views/pages/settings/notification-routes.tsx";
import { settingsPages } from "../views/pages/settings/routes.tsx";
import { twoFactorPages } from "../views/pages/settings/two-factor-routes.tsx";
import { webhookPages } from "../views/pages/settings/webhook-routes.tsx";
import { statusPages } from "../views/pages/status/routes.tsx";
import { sweepsPages } from "../views/pages/sweeps/routes.tsx";
import { teamAuditPages } from "../views/pages/team/audit-routes.tsx";
import { ownTeamPages } from "../views/pages/team/routes.tsx";
import { subjectPages } from "../views/pages/team/subject-routes.tsx";
import { termsPages } from "../views/pages/terms/routes.tsx";
import { budgetPages } from "../views/pages/usage/budget-routes.tsx";
import { billingPages } from "../views/pages/usage/routes.tsx";
import { authApi } from "./api/account.ts";
import { analyticsApi } from "./api/analytics.ts";
import { announcementsApi } from "./api/announcements.ts";
import { archivesApi } from "./api/archives.ts";
import { auditApi, teamAuditApi } from "./api/audit.ts";
import { auditForwardingApi } from "./api/audit-forwarding.ts";
import { betaApi } from "./api/beta.ts";
import { billingSettingsApi } from "./api/billing-settings.ts";
import { billingVerifyApi } from "./api/billing-verify.ts";
import { budgetsApi } from "./api/budgets.ts";
import { checkpointPermissionsApi } from "./api/checkpoint-permissions.ts";
import { gatewayApi } from "./api/completions.ts";
import { datasetMappingApi } from "./api/dataset-mapping.ts";
import { datasetPiiApi } from "./api/dataset-pii.ts";
import { datasetRepairApi } from "./api/dataset-repair.ts";
import { datasetsApi } from "./api/datasets.ts";
import { deletionsApi } from "./api/deletions.ts";
import { deliveriesApi } from "./api/deliveries.ts";
import { deploymentsApi } from "./api/deployments.ts";
import { evaluationsApi } from "./api/evaluations.ts";
import { exportsApi } from "./api/exports.ts";
import { filesApi } from "./api/files.ts";
import { fineTuningApi } from "./api/fine-tuning.ts";
import { gradersApi } from "./api/graders.ts";
import { computeApi } from "./api/hosts.ts";
import { importsApi } from "./api/imports.ts";
import { inspectionApi } from "./api/inspection.ts";
import { installationApi } from "./api/installation.ts";
import { jobsApi } from "./api/jobs.ts";
import { quotasApi } from "./api/limits.ts";
import { mailApi } from "./api/mail.ts";
import { maintenanceApi } from "./api/maintenance.ts";
import { metricsApi } from "./api/metrics.ts";
import { modelsApi } from "./api/models.ts";
import { moderationApi, moderationRulesApi } from "./api/moderation.ts";
import { moderationsApi } from "./api/moderations.ts";
import { monitoringApi } from "./api/monitoring.ts";
import { moreTimeApi } from "./api/more-time.ts";
import { noticesApi } from "./api/notices.ts";
import { organizationUsageApi } from "./api/organization-usage.ts";
import { organizationsApi } from "./api/organizations.ts";
import { pricesApi } from "./api/prices.ts";
import { pushesApi } from "./api/pushes.ts";
import { queueApi } from "./api/queue.ts";
import { responsesApi } from "./api/responses.ts";
import { scimApi } from "./api/scim.ts";
import { ssoApi } from "./api/sso.ts";
import { statementsAdminApi, statementsApi } from "./api/statements.ts";
import { statusApi } from "./api/status.ts";
import { storedCompletionsApi } from "./api/stored-completions.ts";
import { stripeApi, stripeWebhook } from "./api/stripe.ts";
import { subjectsApi } from "./api/subjects.ts";
import { suspensionsApi } from "./api/suspensions.ts";
import { sweepsApi } from "./api/sweeps.ts";
import { teamApi } from "./api/team.ts";
import { termsApi } from "./api/terms.ts";
import { trainersApi } from "./api/trainer.ts";
import { twoFactorApi } from "./api/two-factor.ts";
import { uploadsApi } from "./api/uploads.ts";
import { billingApi } from "./api/usage.ts";
import { usersApi } from "./api/users.ts";
import { webhooksApi } from "./api/webhooks.ts";
import type { Ctx } from "./ctx.ts";
import { askModel } from "./serving/gateway/ask.ts";

/**
 * The routes of every room, in room order. A list, because the compiler cannot follow the types of a chain this long.
 */
export const ROUTES: readonly ((ctx: Ctx) => AnyElysia)[] = [
  auditApi,
  teamAuditApi,
  auditForwardingApi,
  authApi,
  twoFactorApi,
  scimApi,
  ssoApi,
  usersApi,
  organizationsApi,
  organizationUsageApi,
  suspensionsApi,
  deletionsApi,
  teamApi,
  termsApi,
  installationApi,
  monitoringApi,
  statusApi,
  webhooksApi,
  deliveriesApi,
  mailApi,
  stripeApi,
  moreTimeApi,
  stripeWebhook,
  noticesApi,
  announcementsApi,
  budgetsApi,
  maintenanceApi,
  betaApi,
  authPages,
  mailLinkPages,
  ssoPages,
  termsPages,
  settingsPages,
  deletionPages,
  ownTeamPages,
  teamAuditPages,
  twoFactorPages,
  webhookPages,
  notificationPages,
  emailPages,
  noticesPages,
  announcementPages,
  quotasApi,
  computePages,
  providerPages,
  computeApi,
  filesApi,
  uploadsApi,
  importsApi,
  datasetsApi,
  datasetRepairApi,
  datasetPiiApi,
  datasetMappingApi,
  importsPages,
  datasetsPages,
  datasetRepairPages,
  personalDataPages,
  modelsApi,
  modelsPages,
  inspectionApi,
  inspectionPages,
  mappingPages,
  billingPages,
  budgetPages,
  billingApi,
  billingSettingsApi,
  billingVerifyApi,
  statementsApi,
  statementPages,
  statementsAdminApi,
  pricesApi,
  pricingPages,
  priceAdminPages,
  (ctx) => gradersApi(ctx, askModel(ctx)),
  metricsApi,
  fineTuningApi,
  checkpointPermissionsApi,
  jobsApi,
  (ctx) => jobsPages(ctx, askModel(ctx)),
  queueApi,
  queuePages,
  (ctx) => trainersApi(ctx, askModel(ctx)),
  evaluationsApi,
  evaluationsPages,
  exportsApi,
  exportsPages,
  pushesApi,
  archivesApi,
  archivesPages,
  pushesPages,
  sweepsApi,
  sweepsPages,
  deploymentsApi,
  deploymentsPages,
  gatewayApi,
  storedCompletionsApi,
  responsesApi,
  moderationsApi,
  moderationRulesApi,
  moderationApi,
  moderationPages,
  gatewayPages,
  analyticsApi,
  adminPages,
  providerSettingsPages,
  userPages,
  deletionAdminPages,
  teamPages,
  ssoAdminPages,
  deliveryPages,
  mailPages,
  adminPaymentPages,
  paymentPages,
  adminTermsPages,
  adminModerationPages,
  announcementAdminPages,
  maintenanceAdminPages,
  adminBillingPages,
  betaPages,
  statusPages,
  incidentPages,
  forwardingPages,
  subjectsApi,
  subjectPages,
  homePages,
];
