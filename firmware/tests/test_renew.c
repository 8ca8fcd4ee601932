/* Certificates that the posix port accepts as replacement; a rejected one leaves the old one in place. */
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ports/posix/enrol_files.h"
#include "ports/posix/renew.h"
#include "tests/check.h"
#include "tests/suites.h"

enum { DAY_S = 24 * 3600, DER_BYTES = 4096 };

static EVP_PKEY *ca_key;
static EVP_PKEY *other_key;
static X509 *ca;
static struct identity identity;
static struct posix_platform platform = {.device_id = "porch-1",
                                         .log_level = (enum ygg_log_level)(YGG_LOG_WARNING + 1)};
static struct tls_connection connection;
static struct renewal renewal;
static char directory[64];
static char path[128];

static X509 *issue(const char *uri, EVP_PKEY *key, EVP_PKEY *signer, long ends_in_s)
{
    X509 *made = X509_new();
    char value[128];

    (void)snprintf(value, sizeof value, "URI:%s", uri);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, value);
    CHECK(X509_set_version(made, X509_VERSION_3) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(made), 1) == 1);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(made), -DAY_S) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(made), ends_in_s) != NULL);
    CHECK(X509_set_pubkey(made, key) == 1 && X509_add_ext(made, names, -1) == 1);
    CHECK(X509_sign(made, signer, EVP_sha256()) > 0);
    X509_EXTENSION_free(names);
    return made;
}

static void write_now(X509 *certificate)
{
    FILE *file = fopen(path, "w");

    CHECK(file != NULL && PEM_write_X509(file, certificate) == 1 && fclose(file) == 0);
}

static void set_up(void)
{
    (void)snprintf(directory, sizeof directory, "/tmp/ygg-renew-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    (void)snprintf(path, sizeof path, "%s/cert.pem", directory);
    ca_key = EVP_EC_gen("P-256");
    other_key = EVP_EC_gen("P-256");
    ca = issue("ygg://main/ca/devices", ca_key, ca_key, 1000L * DAY_S);
    identity = (struct identity){.key = EVP_EC_gen("P-256"),
                                 .chain = sk_X509_new_null(),
                                 .name = {.tenant = "main", .kind = "device", .id = "porch-1"}};
    identity.certificate = issue("ygg://main/device/porch-1", identity.key, ca_key, 10L * DAY_S);
    connection = (struct tls_connection){.identity = &identity, .fd = -1};
    renewal = (struct renewal){
        .identity = &identity, .connection = &connection, .platform = &platform, .cert_path = path};
    write_now(identity.certificate);
}

static void tear_down(void)
{
    char left[160];

    (void)snprintf(left, sizeof left, "%s.new", path);
    (void)unlink(left);
    CHECK(unlink(path) == 0 && rmdir(directory) == 0);
    identity_free(&identity);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(other_key);
    X509_free(ca);
}

static bool offer(X509 *certificate, X509 *issuer)
{
    static uint8_t der[DER_BYTES];
    uint8_t *at = der;

    CHECK(i2d_X509(certificate, &at) > 0 && i2d_X509(issuer, &at) > 0);
    return renew_port.store(&renewal, der, (size_t)(at - der));
}

static bool holds(const X509 *certificate)
{
    X509 *found = enrol_certificate(directory);
    bool same = found != NULL && X509_cmp(found, certificate) == 0;

    X509_free(found);
    return same;
}

static void a_request_is_for_the_device_and_its_key(void)
{
    set_up();
    uint8_t der[YGG_CERTIFICATE_REQUEST_BYTES_MAX];
    const uint8_t *at = der;
    size_t size = renew_port.request(&renewal, der, sizeof der);
    X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)size);

    CHECK(request != NULL && X509_REQ_verify(request, identity.key) == 1);
    CHECK_EQ(renew_port.request(&renewal, der, 50), 0);
    X509_REQ_free(request);
    tear_down();
}

static void a_certificate_of_the_same_ca_and_key_replaces_the_old_one(void)
{
    set_up();
    X509 *fresh = issue("ygg://main/device/porch-1", identity.key, ca_key, 365L * DAY_S);
    struct identity again;
    char reason[IDENTITY_REASON_BYTES];
    char key_path[160];

    /* Left by a write that a power cut interrupted. */
    CHECK(enrol_write(directory, "cert.pem.new", "cut", 3, S_IRUSR, reason));
    CHECK(offer(fresh, ca));
    CHECK(X509_cmp(identity.certificate, fresh) == 0 && sk_X509_num(identity.chain) == 1);
    CHECK(connection.identity_changed && holds(fresh));
    (void)snprintf(key_path, sizeof key_path, "%s/key.pem", directory);
    FILE *file = fopen(key_path, "w");
    CHECK(file != NULL && chmod(key_path, S_IRUSR | S_IWUSR) == 0 &&
          PEM_write_PrivateKey(file, identity.key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(file) == 0);
    CHECK(identity_load(&again, path, key_path, reason) && sk_X509_num(again.chain) == 1);
    identity_free(&again);
    CHECK(unlink(key_path) == 0);
    X509_free(fresh);
    tear_down();
}

static void a_foreign_certificate_leaves_the_old_one(void)
{
    set_up();
    X509 *other_ca = issue("ygg://main/ca/devices", other_key, other_key, 1000L * DAY_S);
    const struct {
        X509 *certificate;
        X509 *issuer;
    } cases[] = {
        {issue("ygg://main/device/porch-2", identity.key, ca_key, 365L * DAY_S), ca},          /* Another device. */
        {issue("ygg://other/device/porch-1", identity.key, ca_key, 365L * DAY_S), ca},         /* Another tenant. */
        {issue("ygg://main/user/porch-1", identity.key, ca_key, 365L * DAY_S), ca},            /* Not a device. */
        {issue("https://example.org/", identity.key, ca_key, 365L * DAY_S), ca},               /* No identity. */
        {issue("ygg://main/device/porch-1", other_key, ca_key, 365L * DAY_S), ca},             /* Another key. */
        {issue("ygg://main/device/porch-1", identity.key, other_key, 365L * DAY_S), other_ca}, /* Another CA. */
        /* Not issued by the CA beside it. */
        {issue("ygg://main/device/porch-1", identity.key, other_key, 365L * DAY_S), ca},
        {issue("ygg://main/device/porch-1", identity.key, ca_key, -60), ca}, /* Expired. */
        /* Expires before the old one. */
        {issue("ygg://main/device/porch-1", identity.key, ca_key, 5L * DAY_S), ca},
    };
    X509 *old = identity.certificate;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK(!offer(cases[i].certificate, cases[i].issuer));
        CHECK(identity.certificate == old && !connection.identity_changed && holds(old));
        X509_free(cases[i].certificate);
    }
    CHECK(!renew_port.store(&renewal, (const uint8_t *)"garbage", 7));
    CHECK(!renew_port.store(&renewal, (const uint8_t *)"", 0));
    CHECK(identity.certificate == old && holds(old));
    X509_free(other_ca);
    tear_down();
}

static void a_certificate_that_cannot_be_written_leaves_the_old_one(void)
{
    set_up();
    X509 *fresh = issue("ygg://main/device/porch-1", identity.key, ca_key, 365L * DAY_S);
    X509 *old = identity.certificate;

    renewal.cert_path = "/nowhere/cert.pem";
    CHECK(!offer(fresh, ca));
    CHECK(identity.certificate == old && !connection.identity_changed && holds(old));
    X509_free(fresh);
    tear_down();
}

void suite_renew(void)
{
    RUN(a_request_is_for_the_device_and_its_key);
    RUN(a_certificate_of_the_same_ca_and_key_replaces_the_old_one);
    RUN(a_foreign_certificate_leaves_the_old_one);
    RUN(a_certificate_that_cannot_be_written_leaves_the_old_one);
}
