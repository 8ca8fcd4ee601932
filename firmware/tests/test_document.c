/* The capability document: any page of it equals that part of the whole. */
#include <openssl/sha.h>
#include <string.h>

#include "boards/sim/board.h"
#include "ports/posix/platform.h"
#include "tests/check.h"
#include "tests/suites.h"
#include "ygg/document.h"

#include <openssl/evp.h>

static uint8_t whole[YGG_DOCUMENT_BYTES_MAX];

static uint32_t read_whole(void)
{
    uint32_t size = ygg_document_size(&ygg_sim_document);

    CHECK_EQ(ygg_document_read(&ygg_sim_document, 0, whole, size), YGG_OK);
    return size;
}

static void pages_of_every_size_make_up_the_whole(void)
{
    uint32_t size = read_whole();

    CHECK(size > 500);
    for (size_t page = 1; page <= size; page++) {
        static uint8_t assembled[YGG_DOCUMENT_BYTES_MAX];

        for (uint32_t offset = 0; offset < size; offset += (uint32_t)page) {
            size_t length = size - offset < page ? size - offset : page;

            if (ygg_document_read(&ygg_sim_document, offset, assembled + offset, length) != YGG_OK) {
                CHECK_EQ(offset, size);
            }
        }
        if (memcmp(assembled, whole, size) != 0) {
            CHECK_EQ(page, 0);
        }
    }
}

static void a_page_writes_nothing_beyond_its_length(void)
{
    uint8_t page[34];

    memset(page, 0xEE, sizeof page);
    CHECK_EQ(ygg_document_read(&ygg_sim_document, 100, page + 1, 32), YGG_OK);
    CHECK_EQ(page[0], 0xEE);
    CHECK_EQ(page[33], 0xEE);
}

static void a_page_beyond_the_end_is_refused(void)
{
    uint32_t size = read_whole();
    uint8_t page[2];

    CHECK_EQ(ygg_document_read(&ygg_sim_document, size - 1, page, 1), YGG_OK);
    CHECK_EQ(ygg_document_read(&ygg_sim_document, size - 1, page, 2), YGG_ERR_ARGUMENT);
}

static void the_digest_is_that_of_the_whole(void)
{
    uint32_t size = read_whole();
    uint8_t digest[32];
    uint8_t expected[32];
    EVP_MD_CTX *hash = EVP_MD_CTX_new();

    CHECK_EQ(ygg_document_digest(&ygg_sim_document, &posix_hash, hash, digest), YGG_OK);
    CHECK(SHA256(whole, size, expected) != NULL);
    CHECK(memcmp(digest, expected, sizeof digest) == 0);
    EVP_MD_CTX_free(hash);
}

static enum ygg_err check_one(struct ygg_capability capability)
{
    const struct ygg_document document = {.capabilities = &capability, .count = 1};

    capability.id = "x";
    capability.type = "x.y";
    capability.version = 1;
    return ygg_document_check(&document);
}

static void tables_out_of_bounds_are_refused(void)
{
    static const struct ygg_property properties[17] = {{.name = "p", .schema = YGG_SCHEMA_BOOL}};
    static const struct ygg_parameter parameters[9] = {{.name = "p", .schema = YGG_SCHEMA_BOOL}};
    const struct ygg_action action = {.name = "a", .arguments = parameters, .arguments_count = 9};
    const struct ygg_action action_results = {.name = "a", .results = parameters, .results_count = 9};
    const struct ygg_event event = {.name = "e", .fields = parameters, .fields_count = 9};
    const struct ygg_document none = {.capabilities = NULL, .count = 0};

    CHECK_EQ(check_one((struct ygg_capability){.properties = properties, .properties_count = 16}), YGG_OK);
    CHECK_EQ(check_one((struct ygg_capability){.properties = properties, .properties_count = 17}), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_one((struct ygg_capability){.actions = &action, .actions_count = 1}), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_one((struct ygg_capability){.actions = &action_results, .actions_count = 1}), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_one((struct ygg_capability){.events = &event, .events_count = 1}), YGG_ERR_ARGUMENT);
    CHECK_EQ(ygg_document_check(&none), YGG_ERR_ARGUMENT);
}

void suite_document(void)
{
    RUN(pages_of_every_size_make_up_the_whole);
    RUN(a_page_writes_nothing_beyond_its_length);
    RUN(a_page_beyond_the_end_is_refused);
    RUN(the_digest_is_that_of_the_whole);
    RUN(tables_out_of_bounds_are_refused);
}
