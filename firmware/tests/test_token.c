/* Enrolment without a server: the token's text, and the files of the identity directory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ports/posix/enrol_files.h"
#include "ports/posix/token.h"
#include "tests/check.h"
#include "tests/suites.h"

#define SECRET "AAECAwQFBgcICQoLDA0ODw"
#define FINGERPRINT "__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA"

static void a_token_is_parsed_into_its_parts(void)
{
    struct token token;

    if (!CHECK(token_parse(&token, "ygg1.porch-1." SECRET "." FINGERPRINT "@registry.example:7444") == NULL)) {
        return;
    }
    CHECK_TEXT(token.device_id, "porch-1");
    CHECK_TEXT(token.secret, SECRET);
    CHECK_TEXT(token.address, "registry.example:7444");
    for (int i = 0; i < TOKEN_FINGERPRINT_BYTES; i++) {
        CHECK_EQ(token.fingerprint[i], 255 - i);
    }
    CHECK(token_parse(&token, "ygg1.a." SECRET "." FINGERPRINT "@[::1]:1") == NULL);
}

static void an_invalid_token_is_refused_without_its_secret(void)
{
    static const char *const wrong[] = {
        "",
        "ygg1",
        "ygg1.",
        "ygg2.a." SECRET "." FINGERPRINT "@h:1",
        "YGG1.a." SECRET "." FINGERPRINT "@h:1",
        " ygg1.a." SECRET "." FINGERPRINT "@h:1",
        "ygg1.." SECRET "." FINGERPRINT "@h:1",
        "ygg1.A." SECRET "." FINGERPRINT "@h:1",
        "ygg1.-a." SECRET "." FINGERPRINT "@h:1",
        "ygg1.a_b." SECRET "." FINGERPRINT "@h:1",
        "ygg1.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa." SECRET "." FINGERPRINT "@h:1",
        "ygg1.a.." FINGERPRINT "@h:1",
        "ygg1.a.AAECAwQFBgcICQoLDA0OD." FINGERPRINT "@h:1",   /* One character less. */
        "ygg1.a.AAECAwQFBgcICQoLDA0ODwA." FINGERPRINT "@h:1", /* One character more. */
        "ygg1.a.AAECAwQFBgcICQoLDA0ODx." FINGERPRINT "@h:1",  /* Unused bits set. */
        "ygg1.a.AAECAwQFBgcICQoLDA0OD=." FINGERPRINT "@h:1",  /* Padding. */
        "ygg1.a.AAECAwQFBgcICQoLDA0OD+." FINGERPRINT "@h:1",  /* Base64 instead of base64url. */
        "ygg1.a." SECRET "@h:1",
        "ygg1.a." SECRET ".@h:1",
        "ygg1.a." SECRET ".__79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4e@h:1",
        "ygg1.a." SECRET "." FINGERPRINT "A@h:1",
        "ygg1.a." SECRET "./_79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA@h:1",
        "ygg1.a." SECRET "." FINGERPRINT,
        "ygg1.a." SECRET "." FINGERPRINT "@",
        "ygg1.a." SECRET "." FINGERPRINT "@h",
        "ygg1.a." SECRET "." FINGERPRINT "@h:0",
        "ygg1.a." SECRET "." FINGERPRINT "@h:65536",
        "ygg1.a." SECRET "." FINGERPRINT "@:1",
        "ygg1.a." SECRET "." FINGERPRINT "@h:1 ",
        "ygg1.a." SECRET "." FINGERPRINT "@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:1",
    };

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct token token;
        const char *why = token_parse(&token, wrong[i]);

        if (!CHECK(why != NULL)) {
            (void)printf("    %s\n", wrong[i]);
        } else {
            CHECK(strstr(why, "AAEC") == NULL);
        }
    }
}

static mode_t mode_of(const char *directory, const char *name)
{
    struct stat status = {0};
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    CHECK(stat(path, &status) == 0);
    return status.st_mode & 0777U;
}

static void a_key_is_created_once_and_private(void)
{
    char reason[IDENTITY_REASON_BYTES] = "";
    char base[] = "/tmp/ygg-test-XXXXXX";
    char directory[64];
    char path[80];

    if (!CHECK(mkdtemp(base) != NULL)) {
        return;
    }
    (void)snprintf(directory, sizeof directory, "%s/porch-1", base);
    (void)snprintf(path, sizeof path, "%s/key.pem", directory);
    CHECK(enrol_directory(directory, reason));
    CHECK(enrol_directory(directory, reason));
    CHECK_EQ(mode_of(directory, "."), 0700);
    CHECK(!enrol_has(directory, "key.pem"));
    EVP_PKEY *made = enrol_key(directory, reason);
    EVP_PKEY *again = enrol_key(directory, reason);
    CHECK(made != NULL && again != NULL && EVP_PKEY_eq(made, again) == 1);
    CHECK_EQ(mode_of(directory, "key.pem"), 0600);
    CHECK(!enrol_has(directory, "key.pem.new"));
    CHECK(chmod(path, 0644) == 0);
    CHECK(enrol_key(directory, reason) == NULL);
    CHECK(strstr(reason, "chmod 600") != NULL);
    CHECK(chmod(path, 0600) == 0);
    CHECK(enrol_write(directory, "key.pem", "half a key", 10, 0600, reason));
    CHECK(enrol_key(directory, reason) == NULL);
    CHECK(!enrol_directory(path, reason)); /* A file. */
    CHECK(unlink(path) == 0 && rmdir(directory) == 0 && !enrol_write(directory, "x", "", 0, 0600, reason));
    CHECK(rmdir(base) == 0);
    EVP_PKEY_free(made);
    EVP_PKEY_free(again);
}

void suite_token(void)
{
    RUN(a_token_is_parsed_into_its_parts);
    RUN(an_invalid_token_is_refused_without_its_secret);
    RUN(a_key_is_created_once_and_private);
}
