/* A HAL that does nothing, to link and measure the library without a port. Its functions are only called through the
 * tables, so the compiler cannot optimise the calls away. */
#include "hal/noop.h"

static enum ygg_err noop_connect(void *ctx, const char *address)
{
    (void)ctx;
    (void)address;
    return YGG_ERR_AGAIN;
}

static int32_t noop_read(void *ctx, uint8_t *buffer, size_t size)
{
    (void)ctx;
    (void)buffer;
    (void)size;
    return YGG_ERR_AGAIN;
}

static int32_t noop_write(void *ctx, const uint8_t *data, size_t size)
{
    (void)ctx;
    (void)data;
    (void)size;
    return YGG_ERR_AGAIN;
}

static void noop_close(void *ctx)
{
    (void)ctx;
}

static enum ygg_err noop_begin(void *ctx)
{
    (void)ctx;
    return YGG_OK;
}

static enum ygg_err noop_update(void *ctx, const uint8_t *data, size_t size)
{
    (void)ctx;
    (void)data;
    (void)size;
    return YGG_OK;
}

static enum ygg_err noop_finish(void *ctx, uint8_t digest[32])
{
    (void)ctx;
    (void)digest;
    return YGG_OK;
}

static uint64_t noop_now_ms(void *ctx)
{
    (void)ctx;
    return 0;
}

static enum ygg_err noop_random(void *ctx, uint8_t *out, size_t size)
{
    (void)ctx;
    (void)out;
    (void)size;
    return YGG_ERR_IO;
}

static void noop_log(void *ctx, enum ygg_log_level level, const char *event, const struct ygg_log_field *fields,
                     size_t count)
{
    (void)ctx;
    (void)level;
    (void)event;
    (void)fields;
    (void)count;
}

static enum ygg_err noop_flash_read(void *ctx, uint32_t offset, void *out, size_t size)
{
    (void)ctx;
    (void)offset;
    (void)out;
    (void)size;
    return YGG_ERR_IO;
}

static enum ygg_err noop_flash_program(void *ctx, uint32_t offset, const void *data, size_t size)
{
    (void)ctx;
    (void)offset;
    (void)data;
    (void)size;
    return YGG_ERR_IO;
}

static enum ygg_err noop_flash_erase(void *ctx, uint32_t offset)
{
    (void)ctx;
    (void)offset;
    return YGG_ERR_IO;
}

static bool noop_p256(void *ctx, const uint8_t *key, const uint8_t *digest, const uint8_t *signature)
{
    (void)ctx;
    (void)key;
    (void)digest;
    (void)signature;
    return false;
}

const struct ygg_transport ygg_noop_transport = {
    .connect = noop_connect, .read = noop_read, .write = noop_write, .close = noop_close};
const struct ygg_hash ygg_noop_hash = {.begin = noop_begin, .update = noop_update, .finish = noop_finish};
const struct ygg_platform ygg_noop_platform = {.now_ms = noop_now_ms, .random = noop_random, .log = noop_log};
const struct ygg_flash_ops ygg_noop_flash = {
    .read = noop_flash_read, .program = noop_flash_program, .erase = noop_flash_erase};
const struct ygg_verify ygg_noop_verify = {.p256 = noop_p256};
