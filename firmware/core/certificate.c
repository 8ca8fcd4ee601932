/* Renewal of the device's certificate. The states are drawn in ygg/certificate.h. */
#include "ygg/certificate.h"

#include <string.h>

#include "core/internal.h"
#include "wire/encode.h"

static void log_event(const struct ygg_agent *agent, enum ygg_log_level level, const char *event, const char *message)
{
    const struct ygg_log_field field = {.key = "message", .text = message};

    ygg_log(agent, level, event, &field, message == NULL ? 0 : 1);
}

static enum ygg_err on_expiring(struct ygg_certificate *certificate)
{
    if (certificate->due || certificate->waiting) {
        return YGG_ERR_STATE;
    }
    certificate->due = true;
    return YGG_OK;
}

/* Handles a slice, or a refusal. */
static enum ygg_err on_issued(struct ygg_agent *agent, const yggdrasil_device_v1_CertificateIssued *issued)
{
    struct ygg_certificate *certificate = agent->config->certificate;
    bool first = certificate->got == 0;

    if (!certificate->waiting) {
        return YGG_ERR_STATE;
    }
    if (first && issued->size_bytes == 0 && issued->offset_bytes == 0 && issued->data.size == 0) {
        certificate->waiting = false;
        log_event(agent, YGG_LOG_WARNING, "certificate_refused", issued->message);
        return YGG_OK;
    }
    certificate->size = first ? issued->size_bytes : certificate->size;
    if (issued->size_bytes != certificate->size || certificate->size > YGG_CERTIFICATES_BYTES_MAX ||
        issued->offset_bytes != certificate->got || issued->data.size == 0 ||
        issued->data.size > certificate->size - certificate->got) {
        return YGG_ERR_MALFORMED;
    }
    memcpy(certificate->room + certificate->got, issued->data.bytes, issued->data.size);
    certificate->got += issued->data.size;
    if (certificate->got == certificate->size) {
        certificate->waiting = false;
        if (certificate->port->store(certificate->ctx, certificate->room, certificate->size)) {
            log_event(agent, YGG_LOG_INFO, "certificate_renewed", NULL);
        }
    }
    return YGG_OK;
}

enum ygg_err ygg_certificate_handle(struct ygg_agent *agent, const struct ygg_envelope *envelope)
{
    struct ygg_certificate *certificate = agent->config->certificate;
    yggdrasil_device_v1_CertificateIssued *issued = (void *)ygg_scratch_body(agent);
    bool expiring = envelope->number == YGG_BODY_CERTIFICATE_EXPIRING;

    _Static_assert(sizeof *issued <= YGG_SCRATCH_BYTES, "struct ygg_scratch holds a slice");
    if (certificate->session != agent->sessions) {
        certificate->session = agent->sessions;
        certificate->due = false;
        certificate->waiting = false;
    }
    enum ygg_err err = ygg_body_decode_as(envelope,
                                          expiring ? yggdrasil_device_v1_CertificateExpiring_fields
                                                   : yggdrasil_device_v1_CertificateIssued_fields,
                                          issued);
    if (err != YGG_OK) {
        return err;
    }
    return expiring ? on_expiring(certificate) : on_issued(agent, issued);
}

static bool send_request(struct ygg_agent *agent, const uint8_t *request, size_t length)
{
    pb_ostream_t head = PB_OSTREAM_SIZING;
    pb_ostream_t out;

    /* A counting stream cannot fail. */
    (void)ygg_put_header(&head, yggdrasil_device_v1_CertificateRequest_certificate_request_tag, length);
    return ygg_link_open(agent, YGG_BODY_CERTIFICATE_REQUEST, head.bytes_written + length, &out) == YGG_OK &&
           ygg_put_header(&out, yggdrasil_device_v1_CertificateRequest_certificate_request_tag, length) &&
           pb_write(&out, request, length) && ygg_link_commit(agent, &out) == YGG_OK;
}

bool ygg_certificate_produce(struct ygg_agent *agent)
{
    struct ygg_certificate *certificate = agent->config->certificate;

    if (!certificate->due || certificate->session != agent->sessions || !ygg_link_flushed(agent)) {
        return false;
    }
    certificate->due = false;
    size_t length = certificate->port->request(certificate->ctx, certificate->room, YGG_CERTIFICATE_REQUEST_BYTES_MAX);
    if (length == 0 || !send_request(agent, certificate->room, length)) {
        log_event(agent, YGG_LOG_WARNING, "certificate_request_failed",
                  "the request could not be made, or does not fit a frame");
        return false;
    }
    certificate->waiting = true;
    certificate->got = 0;
    return true;
}
