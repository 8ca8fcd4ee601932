/* detools patches. The format is drawn in patch.h. Bytes go: patch -> decompressor -> interpreter -> install. */
#include "core/patch.h"

#include <string.h>

enum { COMPRESSION_CRLE = 2, COMPRESSION_HEATSHRINK = 4 };
enum { SIZE_BITS_FIRST = 6, SIZE_BITS_MORE = 7, SIZE_BITS_MAX = 62 };

enum part { HEADER = 0, SIZE, DIFF, EXTRA, DONE, BROKEN };

/* The meaning of a size. */
enum after { NEW_IMAGE = 0, DATA_FORMAT, DIFF_SIZE, EXTRA_SIZE, ADJUSTMENT };

enum { CRLE_KIND = 0, CRLE_COUNT, CRLE_BYTES, CRLE_REPEATED_COUNT, CRLE_REPEATED_BYTE };
enum { CRLE_SCATTERED = 0, CRLE_REPEATED = 1, CRLE_SHIFT_MAX = 28 };

enum { TAG = 0, LITERAL, BACK, COUNT, LITERAL_BITS = 8, WINDOW_BITS_MIN = 4, WINDOW_BITS_MAX = 8, COUNT_BITS_MIN = 3 };

/* --- the interpreter ---------------------------------------------------------------------------------------------- */

static void expect_size(struct ygg_patch *patch, enum after after)
{
    patch->part = SIZE;
    patch->after = (uint8_t)after;
    patch->size_bits = 0;
    patch->size = 0;
}

/* Whether bytes [at, at + length) are inside the old image. */
static bool old_image_contains(const struct ygg_patch *patch, uint32_t length)
{
    return patch->at >= 0 && patch->at + (int64_t)length <= (int64_t)patch->from_length;
}

static enum ygg_err flush(struct ygg_patch *patch)
{
    uint8_t old[YGG_PATCH_GATHER_BYTES];
    uint8_t count = patch->gathered;

    if (count == 0) {
        return YGG_OK;
    }
    if (patch->part == DIFF) {
        enum ygg_err err = ygg_flash_read(patch->install->boot->layout->flash, patch->from + (uint32_t)patch->at, old,
                                          count);

        if (err != YGG_OK) {
            return err;
        }
        for (size_t i = 0; i < count; i++) {
            patch->gather[i] = (uint8_t)(patch->gather[i] + old[i]);
        }
        patch->at += count;
    }
    patch->gathered = 0;
    return ygg_install_write(patch->install, patch->gather, count);
}

static uint32_t room(const struct ygg_patch *patch)
{
    return patch->install->image.length - patch->install->written;
}

static void end_of_extra(struct ygg_patch *patch)
{
    expect_size(patch, ADJUSTMENT);
}

/* Handles a complete size. */
static enum ygg_err take_size(struct ygg_patch *patch)
{
    int64_t value = patch->negative ? -(int64_t)patch->size : (int64_t)patch->size;
    bool fits = value >= 0 && (uint64_t)value <= room(patch);

    switch (patch->after) {
    case NEW_IMAGE:
        expect_size(patch, DATA_FORMAT);
        return value == (int64_t)patch->install->image.length ? YGG_OK : YGG_ERR_MALFORMED;
    case DATA_FORMAT:
        expect_size(patch, DIFF_SIZE);
        return value == 0 ? YGG_OK : YGG_ERR_MALFORMED;
    case DIFF_SIZE:
        if (!fits || !old_image_contains(patch, (uint32_t)value)) {
            return value == 0 ? (expect_size(patch, EXTRA_SIZE), YGG_OK) : YGG_ERR_MALFORMED;
        }
        patch->left = (uint32_t)value;
        patch->part = DIFF;
        if (value == 0) {
            expect_size(patch, EXTRA_SIZE);
        }
        return YGG_OK;
    case EXTRA_SIZE:
        if (!fits) {
            return YGG_ERR_MALFORMED;
        }
        patch->left = (uint32_t)value;
        patch->part = EXTRA;
        if (value == 0) {
            end_of_extra(patch);
        }
        return YGG_OK;
    default:
        if (value > (int64_t)patch->from_length || -value > (int64_t)patch->from_length) {
            return YGG_ERR_MALFORMED;
        }
        patch->at += value;
        expect_size(patch, DIFF_SIZE);
        patch->part = room(patch) == 0 ? DONE : SIZE;
        return YGG_OK;
    }
}

static enum ygg_err take_size_byte(struct ygg_patch *patch, uint8_t byte)
{
    bool first = patch->size_bits == 0;
    uint64_t bits = first ? byte & 0x3FU : byte & 0x7FU;

    if (patch->size_bits > SIZE_BITS_MAX - SIZE_BITS_MORE) {
        return YGG_ERR_MALFORMED;
    }
    patch->negative = first ? (byte & 0x40U) != 0 : patch->negative;
    patch->size |= bits << patch->size_bits;
    patch->size_bits = (uint8_t)(patch->size_bits + (first ? SIZE_BITS_FIRST : SIZE_BITS_MORE));
    return (byte & 0x80U) != 0 ? YGG_OK : take_size(patch);
}

/* Handles a decompressed byte. */
static enum ygg_err interpret(struct ygg_patch *patch, uint8_t byte)
{
    if (patch->part == SIZE) {
        return take_size_byte(patch, byte);
    }
    if (patch->part != DIFF && patch->part != EXTRA) {
        return YGG_ERR_TOO_LONG;
    }
    patch->gather[patch->gathered++] = byte;
    patch->left--;
    if (patch->left > 0 && patch->gathered < YGG_PATCH_GATHER_BYTES) {
        return YGG_OK;
    }
    enum ygg_err err = flush(patch);
    if (patch->left == 0 && patch->part == DIFF) {
        expect_size(patch, EXTRA_SIZE);
    } else if (patch->left == 0) {
        end_of_extra(patch);
    }
    return err;
}

/* --- CRLE --------------------------------------------------------------------------------------------------------- */

static enum ygg_err crle_count(struct ygg_patch *patch, uint8_t byte)
{
    if (patch->crle.shift > CRLE_SHIFT_MAX) {
        return YGG_ERR_MALFORMED;
    }
    patch->crle.left |= (uint32_t)(byte & 0x7FU) << patch->crle.shift;
    patch->crle.shift = (uint8_t)(patch->crle.shift + 7U);
    if ((byte & 0x80U) == 0) {
        bool bytes = patch->crle.part == CRLE_COUNT;

        patch->crle.part = !bytes ? CRLE_REPEATED_BYTE : patch->crle.left > 0 ? CRLE_BYTES : CRLE_KIND;
    }
    return YGG_OK;
}

static enum ygg_err crle_byte(struct ygg_patch *patch, uint8_t byte)
{
    enum ygg_err err = YGG_OK;

    switch (patch->crle.part) {
    case CRLE_KIND:
        patch->crle.part = byte == CRLE_SCATTERED ? CRLE_COUNT : CRLE_REPEATED_COUNT;
        patch->crle.left = 0;
        patch->crle.shift = 0;
        return byte <= CRLE_REPEATED ? YGG_OK : YGG_ERR_MALFORMED;
    case CRLE_COUNT:
    case CRLE_REPEATED_COUNT:
        return crle_count(patch, byte);
    case CRLE_BYTES:
        err = interpret(patch, byte);
        patch->crle.left--;
        patch->crle.part = patch->crle.left > 0 ? CRLE_BYTES : CRLE_KIND;
        return err;
    default:
        for (; patch->crle.left > 0 && err == YGG_OK; patch->crle.left--) {
            err = interpret(patch, byte);
        }
        patch->crle.part = CRLE_KIND;
        return err;
    }
}

/* --- heatshrink --------------------------------------------------------------------------------------------------- */

static enum ygg_err emit(struct ygg_patch *patch, uint8_t byte)
{
    patch->heatshrink.window[patch->heatshrink.head] = byte;
    patch->heatshrink.head = (uint16_t)((patch->heatshrink.head + 1U) % YGG_PATCH_WINDOW_BYTES);
    return interpret(patch, byte);
}

/* Copies from the window, which is initially zero, as the encoder's is. */
static enum ygg_err copy_back(struct ygg_patch *patch, uint16_t count)
{
    enum ygg_err err = YGG_OK;

    for (uint16_t i = 0; i < count && err == YGG_OK; i++) {
        uint32_t from = (uint32_t)patch->heatshrink.head + YGG_PATCH_WINDOW_BYTES - patch->heatshrink.back;

        err = emit(patch, patch->heatshrink.window[from % YGG_PATCH_WINDOW_BYTES]);
    }
    return err;
}

static uint8_t field_bits(const struct ygg_patch *patch)
{
    switch (patch->heatshrink.part) {
    case TAG:
        return 1;
    case LITERAL:
        return LITERAL_BITS;
    case BACK:
        return patch->heatshrink.window_bits;
    default:
        return patch->heatshrink.count_bits;
    }
}

/* Handles a complete field of the bit stream. */
static enum ygg_err take_field(struct ygg_patch *patch, uint16_t value)
{
    switch (patch->heatshrink.part) {
    case TAG:
        patch->heatshrink.part = value != 0 ? LITERAL : BACK;
        return YGG_OK;
    case LITERAL:
        patch->heatshrink.part = TAG;
        return emit(patch, (uint8_t)value);
    case BACK:
        patch->heatshrink.part = COUNT;
        patch->heatshrink.back = (uint16_t)(value + 1U);
        return YGG_OK;
    default:
        patch->heatshrink.part = TAG;
        return copy_back(patch, (uint16_t)(value + 1U));
    }
}

static enum ygg_err heatshrink_header(struct ygg_patch *patch, uint8_t byte)
{
    uint8_t window_bits = (uint8_t)((byte >> 4U) + WINDOW_BITS_MIN);

    patch->heatshrink.window_bits = window_bits;
    patch->heatshrink.count_bits = (uint8_t)((byte & 0xFU) + COUNT_BITS_MIN);
    return window_bits <= WINDOW_BITS_MAX && patch->heatshrink.count_bits < window_bits ? YGG_OK : YGG_ERR_MALFORMED;
}

static enum ygg_err heatshrink_byte(struct ygg_patch *patch, uint8_t byte)
{
    enum ygg_err err = YGG_OK;

    if (patch->heatshrink.window_bits == 0) {
        return heatshrink_header(patch, byte);
    }
    for (uint8_t mask = 0x80; mask != 0 && err == YGG_OK; mask >>= 1U) {
        if (patch->part == DONE) {
            return ((unsigned)byte & (mask * 2U - 1U)) == 0 ? YGG_OK : YGG_ERR_TOO_LONG; /* Padding of the last byte. */
        }
        patch->heatshrink.field = (uint16_t)((unsigned)patch->heatshrink.field << 1U | ((byte & mask) != 0 ? 1U : 0U));
        patch->heatshrink.have++;
        if (patch->heatshrink.have == field_bits(patch)) {
            uint16_t value = patch->heatshrink.field;

            patch->heatshrink.have = 0;
            patch->heatshrink.field = 0;
            err = take_field(patch, value);
        }
    }
    return err;
}

/* --- the patch ---------------------------------------------------------------------------------------------------- */

static enum ygg_err take_byte(struct ygg_patch *patch, uint8_t byte)
{
    if (patch->part == HEADER) {
        patch->compression = byte;
        expect_size(patch, NEW_IMAGE);
        return byte == COMPRESSION_CRLE || byte == COMPRESSION_HEATSHRINK ? YGG_OK : YGG_ERR_MALFORMED;
    }
    if (patch->part == SIZE && patch->after == NEW_IMAGE) {
        return take_size_byte(patch, byte);
    }
    if (patch->part == DONE || patch->part == BROKEN) {
        return YGG_ERR_TOO_LONG;
    }
    return patch->compression == COMPRESSION_CRLE ? crle_byte(patch, byte) : heatshrink_byte(patch, byte);
}

enum ygg_err ygg_patch_write(struct ygg_patch *patch, const uint8_t *data, size_t size)
{
    enum ygg_err err = YGG_OK;

    for (size_t i = 0; i < size && err == YGG_OK; i++) {
        err = take_byte(patch, data[i]);
    }
    if (err != YGG_OK) {
        patch->part = BROKEN;
    }
    return err;
}

bool ygg_patch_done(const struct ygg_patch *patch)
{
    return patch->part == DONE;
}
