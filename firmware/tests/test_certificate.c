/* The device's end of the feature `certificate`, with a fake port. */
#include <string.h>

#include "tests/check.h"
#include "tests/fake.h"
#include "tests/suites.h"
#include "ygg/certificate.h"

static struct fake fake;
static struct ygg_certificate certificate;
static uint8_t room[YGG_CERTIFICATES_BYTES_MAX];
static uint8_t stored[YGG_CERTIFICATES_BYTES_MAX];
static size_t stored_size;
static size_t request_size;

static const struct ygg_feature features[] = {YGG_FEATURE_CERTIFICATE};

static size_t make_request(void *ctx, uint8_t *out, size_t size)
{
    (void)ctx;
    memset(out, 'r', request_size < size ? request_size : size);
    return request_size;
}

static bool store(void *ctx, const uint8_t *certificates, size_t size)
{
    (void)ctx;
    memcpy(stored, certificates, size);
    stored_size = size;
    return true;
}

static const struct ygg_certificate_port port = {.request = make_request, .store = store};

static void connect_with(bool refused)
{
    fake_init(&fake);
    certificate = (struct ygg_certificate){
        .handle = ygg_certificate_handle, .produce = ygg_certificate_produce, .port = &port, .room = room};
    fake.config.features = features;
    fake.config.features_count = 1;
    fake.config.certificate = &certificate;
    fake.features_refused = refused;
    request_size = 300;
    stored_size = 0;
    CHECK_EQ(fake_start(&fake), YGG_OK);
    fake_activate(&fake);
}

static void send_expiring(void)
{
    fake_send_raw(&fake, YGG_BODY_CERTIFICATE_EXPIRING, "", 0);
    fake_step(&fake);
}

static void send_issued(uint32_t size, uint32_t offset, size_t length, const char *message)
{
    yggdrasil_device_v1_CertificateIssued issued = {.size_bytes = size, .offset_bytes = offset};

    issued.data.size = (pb_size_t)length;
    for (size_t i = 0; i < length; i++) {
        issued.data.bytes[i] = (uint8_t)(offset + i);
    }
    memcpy(issued.message, message, strlen(message) + 1);
    fake_send(&fake, YGG_BODY_CERTIFICATE_ISSUED, yggdrasil_device_v1_CertificateIssued_fields, &issued);
    fake_step(&fake);
}

static bool takes_request(size_t size)
{
    static yggdrasil_device_v1_CertificateRequest request;

    return fake_find_message(&fake, YGG_BODY_CERTIFICATE_REQUEST, yggdrasil_device_v1_CertificateRequest_fields,
                             &request) &&
           request.certificate_request.size == size && request.certificate_request.bytes[size - 1] == 'r';
}

static void ends_with_protocol_error(void)
{
    yggdrasil_device_v1_Goodbye goodbye = {0};

    CHECK(fake_find_message(&fake, YGG_BODY_GOODBYE, yggdrasil_device_v1_Goodbye_fields, &goodbye));
    CHECK_EQ(goodbye.code, yggdrasil_device_v1_GoodbyeCode_GOODBYE_CODE_PROTOCOL_ERROR);
    CHECK_EQ(stored_size, 0);
    fake_free(&fake);
}

static void an_expiring_certificate_is_requested_and_the_issued_one_stored(void)
{
    connect_with(false);
    send_expiring();
    CHECK(takes_request(300));
    send_issued(1100, 0, 512, "");
    send_issued(1100, 512, 512, "");
    CHECK_EQ(stored_size, 0);
    send_issued(1100, 1024, 76, "");
    CHECK_EQ(stored_size, 1100);
    for (size_t i = 0; i < stored_size; i++) {
        CHECK_EQ(stored[i], (uint8_t)i);
    }
    CHECK_TEXT(fake.last_event, "certificate_renewed");
    send_expiring();
    CHECK(takes_request(300)); /* The next renewal. */
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    fake_free(&fake);
}

static void a_refused_request_is_logged_and_the_session_continues(void)
{
    connect_with(false);
    send_expiring();
    CHECK(takes_request(300));
    send_issued(0, 0, 0, "the device is suspended");
    CHECK_TEXT(fake.last_event, "certificate_refused");
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    CHECK_EQ(stored_size, 0);
    fake_free(&fake);
}

static void a_failed_request_is_logged_and_the_session_continues(void)
{
    static const size_t sizes[] = {0, YGG_CERTIFICATE_REQUEST_BYTES_MAX};

    for (size_t i = 0; i < YGG_COUNT(sizes); i++) {
        connect_with(false);
        request_size = sizes[i];
        fake.agent.link.tx_limit = YGG_FRAME_BYTES_MIN;
        send_expiring();
        CHECK_TEXT(fake.last_event, "certificate_request_failed");
        CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
        fake_free(&fake);
    }
}

static void certificate_frames_out_of_order_end_the_session(void)
{
    connect_with(true); /* Not negotiated. */
    send_expiring();
    ends_with_protocol_error();
    connect_with(false); /* Nothing was requested. */
    send_issued(100, 0, 100, "");
    ends_with_protocol_error();
    connect_with(false); /* Announced twice before the answer. */
    send_expiring();
    send_expiring();
    ends_with_protocol_error();
}

static void slices_out_of_bounds_end_the_session(void)
{
    static const struct {
        uint32_t size;
        uint32_t offset;
        size_t length;
    } cases[] = {
        {YGG_CERTIFICATES_BYTES_MAX + 1, 0, 512}, /* Larger than the buffer. */
        {1000, 1, 100},                           /* A gap. */
        {1000, 0, 0},                             /* Empty. */
        {100, 0, 101},                            /* Beyond the size. */
        {0, 0, 1},
        {0, 5, 0},
    };

    for (size_t i = 0; i < YGG_COUNT(cases); i++) {
        connect_with(false);
        send_expiring();
        send_issued(cases[i].size, cases[i].offset, cases[i].length, "");
        ends_with_protocol_error();
    }
    connect_with(false); /* A size other than the first slice's. */
    send_expiring();
    send_issued(1000, 0, 100, "");
    send_issued(1001, 100, 100, "");
    ends_with_protocol_error();
}

static void an_interrupted_renewal_restarts_in_the_next_session(void)
{
    connect_with(false);
    send_expiring();
    send_issued(1000, 0, 100, "");
    fake.at_end = YGG_ERR_CLOSED;
    fake_step(&fake);
    fake.at_end = YGG_ERR_AGAIN;
    fake_activate(&fake);
    CHECK_EQ(fake.agent.state, YGG_STATE_ACTIVE);
    send_expiring();
    CHECK(takes_request(300));
    send_issued(100, 0, 100, "");
    CHECK_EQ(stored_size, 100);
    fake_free(&fake);
}

void suite_certificate(void)
{
    RUN(an_expiring_certificate_is_requested_and_the_issued_one_stored);
    RUN(a_refused_request_is_logged_and_the_session_continues);
    RUN(a_failed_request_is_logged_and_the_session_continues);
    RUN(certificate_frames_out_of_order_end_the_session);
    RUN(slices_out_of_bounds_end_the_session);
    RUN(an_interrupted_renewal_restarts_in_the_next_session);
}
