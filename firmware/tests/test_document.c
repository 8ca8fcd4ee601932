/* The capability document: any page equals that part of the whole. */
#include <math.h>
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

static void the_digest_covers_the_whole_document(void)
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
    static const char *const names[17] = {"a", "b", "c", "d", "e", "f", "g", "h", "i",
                                          "j", "k", "l", "m", "n", "o", "p", "q"};
    struct ygg_property properties[17];
    struct ygg_parameter parameters[9];
    const struct ygg_action action = {.name = "a", .arguments = parameters, .arguments_count = 9};
    const struct ygg_action action_results = {.name = "a", .results = parameters, .results_count = 9};
    const struct ygg_event event = {.name = "e", .fields = parameters, .fields_count = 9};

    for (size_t i = 0; i < YGG_COUNT(names); i++) {
        properties[i] = (struct ygg_property){.name = names[i], .schema = YGG_SCHEMA_BOOL, .readable = true};
    }
    for (size_t i = 0; i < YGG_COUNT(parameters); i++) {
        parameters[i] = (struct ygg_parameter){.name = names[i], .schema = YGG_SCHEMA_BOOL};
    }
    CHECK_EQ(check_one((struct ygg_capability){.properties = properties, .properties_count = 16}), YGG_OK);
    CHECK_EQ(check_one((struct ygg_capability){.properties = properties, .properties_count = 17}), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_one((struct ygg_capability){.actions = &action, .actions_count = 1}), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_one((struct ygg_capability){.actions = &action_results, .actions_count = 1}), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_one((struct ygg_capability){.events = &event, .events_count = 1}), YGG_ERR_ARGUMENT);
}

static enum ygg_err check_property(struct ygg_property property)
{
    return check_one((struct ygg_capability){.properties = &property, .properties_count = 1});
}

static enum ygg_err check_schema(struct ygg_schema schema)
{
    return check_property((struct ygg_property){.name = "p", .schema = schema, .readable = true});
}

static void names_follow_their_grammar_and_are_unique(void)
{
    static const char *const bad[] = {"", "A", "1a", "a-b", "_a", "a.b", "an_identifier_of_33_characters_xxx"};
    const struct ygg_property twice[] = {{.name = "p", .schema = YGG_SCHEMA_BOOL, .readable = true},
                                         {.name = "p", .schema = YGG_SCHEMA_BOOL, .readable = true}};
    const struct ygg_parameter optional_first[] = {{.name = "x", .schema = YGG_SCHEMA_BOOL, .optional = true},
                                                   {.name = "y", .schema = YGG_SCHEMA_BOOL}};
    const struct ygg_parameter same[] = {{.name = "x", .schema = YGG_SCHEMA_BOOL},
                                         {.name = "x", .schema = YGG_SCHEMA_BOOL}};
    const struct ygg_action actions[] = {{.name = "a", .arguments = optional_first, .arguments_count = 2},
                                         {.name = "a"}};
    const struct ygg_event events[] = {{.name = "e"}, {.name = "e"}};
    const struct ygg_event doubled = {.name = "e", .fields = same, .fields_count = 2};

    for (size_t i = 0; i < YGG_COUNT(bad); i++) {
        CHECK_EQ(check_property((struct ygg_property){.name = bad[i], .schema = YGG_SCHEMA_BOOL, .readable = true}),
                 YGG_ERR_ARGUMENT);
    }
    CHECK_EQ(check_one((struct ygg_capability){.properties = twice, .properties_count = 1}), YGG_OK);
    CHECK_EQ(check_one((struct ygg_capability){.properties = twice, .properties_count = 2}), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_one((struct ygg_capability){.actions = actions, .actions_count = 1}), YGG_OK);
    CHECK_EQ(check_one((struct ygg_capability){.actions = actions, .actions_count = 2}), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_one((struct ygg_capability){.events = events, .events_count = 2}), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_one((struct ygg_capability){.events = &doubled, .events_count = 1}), YGG_ERR_ARGUMENT);
}

static void a_capability_has_a_type_a_version_and_a_unique_id(void)
{
    static const char *const bad[] = {"", "led", "actuator.", ".led", "a..b", "Actuator.led"};
    struct ygg_capability pair[] = {{.id = "x", .type = "a.b", .version = 1},
                                    {.id = "y", .type = "a.b.c", .version = 1}};
    const struct ygg_document document = {.capabilities = pair, .count = 2};

    CHECK_EQ(ygg_document_check(&document), YGG_OK);
    pair[1].id = "x";
    CHECK_EQ(ygg_document_check(&document), YGG_ERR_ARGUMENT);
    pair[1].id = "y";
    pair[1].version = 0;
    CHECK_EQ(ygg_document_check(&document), YGG_ERR_ARGUMENT);
    pair[1].version = 1;
    for (size_t i = 0; i < YGG_COUNT(bad); i++) {
        pair[1].type = bad[i];
        CHECK_EQ(ygg_document_check(&document), YGG_ERR_ARGUMENT);
    }
}

static void a_schema_allows_only_bounds_of_its_type(void)
{
    CHECK_EQ(check_schema((struct ygg_schema){.type = YGG_TYPE_NONE}), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_schema((struct ygg_schema)YGG_SCHEMA_DOUBLE_RANGE("Cel", 0.5, 1.5)), YGG_OK);
    CHECK_EQ(check_schema((struct ygg_schema)YGG_SCHEMA_DOUBLE_RANGE("Cel", 1.5, 0.5)), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_schema((struct ygg_schema)YGG_SCHEMA_DOUBLE_RANGE(NULL, 0, (double)INFINITY)), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_schema((struct ygg_schema)YGG_SCHEMA_INT_RANGE("ms", -9223372036854775808.0, 1)), YGG_OK);
    CHECK_EQ(check_schema((struct ygg_schema)YGG_SCHEMA_INT_RANGE("ms", 0.5, 1)), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_schema((struct ygg_schema)YGG_SCHEMA_INT_RANGE("ms", 0, 9223372036854775808.0)), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_schema((struct ygg_schema)YGG_SCHEMA_INT("fifteen_letters")), YGG_OK);
    CHECK_EQ(check_schema((struct ygg_schema)YGG_SCHEMA_INT("sixteen__letters")), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_schema((struct ygg_schema)YGG_SCHEMA_INT("m s")), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_schema((struct ygg_schema)YGG_SCHEMA_STRING(64)), YGG_OK);
    CHECK_EQ(check_schema((struct ygg_schema)YGG_SCHEMA_STRING(65)), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_schema((struct ygg_schema){.type = YGG_TYPE_INT, .max_length = 1}), YGG_ERR_ARGUMENT);
    CHECK_EQ(check_schema((struct ygg_schema){.type = YGG_TYPE_BOOL, .has_minimum = true}), YGG_ERR_ARGUMENT);
}

static void a_property_can_be_read_written_or_observed(void)
{
    const struct ygg_property inaccessible = {.name = "p", .schema = YGG_SCHEMA_BOOL};
    struct ygg_property observed = inaccessible;

    CHECK_EQ(check_property(inaccessible), YGG_ERR_ARGUMENT);
    observed.observable = true;
    CHECK_EQ(check_property(observed), YGG_OK);
}

static void a_document_may_have_no_capabilities_and_a_capability_no_members(void)
{
    const struct ygg_document none = {.capabilities = NULL, .count = 0};

    CHECK_EQ(ygg_document_check(&none), YGG_OK);
    CHECK_EQ(ygg_document_size(&none), 0);
    CHECK_EQ(check_one((struct ygg_capability){.id = "x"}), YGG_OK);
}

void suite_document(void)
{
    RUN(pages_of_every_size_make_up_the_whole);
    RUN(a_page_writes_nothing_beyond_its_length);
    RUN(a_page_beyond_the_end_is_refused);
    RUN(the_digest_covers_the_whole_document);
    RUN(tables_out_of_bounds_are_refused);
    RUN(names_follow_their_grammar_and_are_unique);
    RUN(a_capability_has_a_type_a_version_and_a_unique_id);
    RUN(a_schema_allows_only_bounds_of_its_type);
    RUN(a_property_can_be_read_written_or_observed);
    RUN(a_document_may_have_no_capabilities_and_a_capability_no_members);
}
