/* Shared by the files of updates. */
#ifndef YGG_CORE_OTA_H
#define YGG_CORE_OTA_H

#include "core/internal.h"
#include "ygg/ota.h"

/* Chunks in flight. */
enum { YGG_OTA_CREDIT_CHUNKS = 16 };

static inline struct ygg_ota *ygg_ota_of(const struct ygg_agent *agent)
{
    return agent->config->ota;
}

/* The running image; NULL in safe mode. */
static inline const struct ygg_image *ygg_ota_running(const struct ygg_ota *ota)
{
    return ota->boot->running == YGG_SLOT_NONE ? NULL : &ota->boot->slots[ota->boot->running].image;
}

/* Whether the running image is on trial. */
static inline bool ygg_ota_on_trial(const struct ygg_ota *ota)
{
    return ota->boot->state == YGG_BOOT_TRIAL && ota->boot->running == ota->boot->trial;
}

/* ota.c: ends an accepted attempt with a failure and reports it to the bridge. */
void ygg_ota_fail(struct ygg_agent *agent, enum ygg_ota_code code);

/* ota.c: reports to the bridge that the image is staged, then restarts the device; on `err`, that the attempt
 * failed. */
void ygg_ota_installed(struct ygg_agent *agent, enum ygg_err err);

/* ota.c: stops the agent, for a restart through the bootloader. */
void ygg_ota_restart(struct ygg_agent *agent);

/* ota.c: the wire code of an error of the install path. */
enum ygg_ota_code ygg_ota_code_of(enum ygg_err err);

/* ota_report.c: the human-readable message of a code; and a log line, a warning unless the code is YGG_OTA_OK. */
const char *ygg_ota_message(enum ygg_ota_code code);
void ygg_ota_log(const struct ygg_agent *agent, const char *event, enum ygg_ota_code code);

#endif
