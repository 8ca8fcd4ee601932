/* What the files of updates share. */
#ifndef YGG_CORE_OTA_H
#define YGG_CORE_OTA_H

#include "core/internal.h"
#include "ygg/ota.h"

/* Chunks that may be on their way at once. */
enum { YGG_OTA_CREDIT_CHUNKS = 16 };

static inline struct ygg_ota *ygg_ota_of(const struct ygg_agent *agent)
{
    return agent->config->ota;
}

/* The image that runs; NULL in safe mode. */
static inline const struct ygg_image *ygg_ota_running(const struct ygg_ota *ota)
{
    return ota->boot->running == YGG_SLOT_NONE ? NULL : &ota->boot->slots[ota->boot->running].image;
}

/* Whether the image that runs is on trial. */
static inline bool ygg_ota_on_trial(const struct ygg_ota *ota)
{
    return ota->boot->state == YGG_BOOT_TRIAL && ota->boot->running == ota->boot->trial;
}

/* ota.c: ends the attempt after it was accepted; the bridge is told. */
void ygg_ota_fail(struct ygg_agent *agent, enum ygg_ota_code code);

/* ota.c: the image is staged, or not, for the reason given: the bridge is told, then the device restarts. */
void ygg_ota_installed(struct ygg_agent *agent, enum ygg_err err);

/* ota.c: stops the agent, for a restart through the bootloader. */
void ygg_ota_restart(struct ygg_agent *agent);

/* ota.c: what an error of the install path is called on the wire. */
enum ygg_ota_code ygg_ota_code_of(enum ygg_err err);

/* ota_report.c: for people; and a line in the log, a warning unless the code is YGG_OTA_OK. */
const char *ygg_ota_message(enum ygg_ota_code code);
void ygg_ota_log(const struct ygg_agent *agent, const char *event, enum ygg_ota_code code);

#endif
