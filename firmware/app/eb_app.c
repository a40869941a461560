/* The benchmark firmware: answers requests on the serial line. See docs/protocol.md. */
#include <string.h>

#include "eb_bench.h"
#include "eb_frame.h"
#include "eb_port.h"
#include "eb_startup.h"

enum { IDENTIFY = 1, TENSOR, WRITE_INPUT, RUN, READ_OUTPUT, READ_TIMINGS, READ_MARKS };
enum { OK = 0, BAD_COMMAND = 1, BAD_LENGTH = 2, OUT_OF_RANGE = 3, MODEL_FAILED = 4 };

#define REPLY_BIT 0x80U
#define NO_SEQUENCE 0x100U
#define MAX_RUNS 1000000U

static uint8_t received[EB_MAX_ENCODED];
static uint8_t reply[EB_MAX_FRAME];
static uint8_t encoded[EB_MAX_ENCODED + 2U];
static uint32_t encoded_bytes;
static uint32_t last_sequence = NO_SEQUENCE;
static uint32_t last_crc;
static int model_status;

static uint8_t identify(const uint8_t *in, uint32_t count, uint8_t *out, uint32_t *size)
{
    (void)in;
    if (count != 0U) {
        return BAD_LENGTH;
    }
    const eb_model *const m = eb_app_model;
    const uint32_t words[] = { (uint32_t)model_status, eb_bench_arena_bytes(), m->layer_count,
                               m->input_count,         m->output_count,        EB_MAX_PAYLOAD,
                               eb_port_ticks_hz() };
    for (uint32_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        eb_put32(out + 4U * i, words[i]);
    }
    uint32_t length = 0;
    while (length < 63U && m->name[length] != '\0') {
        out[sizeof words + length] = (uint8_t)m->name[length];
        length++;
    }
    *size = (uint32_t)sizeof words + length;
    return OK;
}

static const eb_tensor_info *find(uint32_t is_output, uint32_t index)
{
    const uint32_t count = is_output ? eb_app_model->output_count : eb_app_model->input_count;
    if (index >= count) {
        return NULL;
    }
    return &(is_output ? eb_app_model->outputs : eb_app_model->inputs)[index];
}

/* in: output? (1), index (1). */
static uint8_t tensor(const uint8_t *in, uint32_t count, uint8_t *out, uint32_t *size)
{
    if (count != 2U) {
        return BAD_LENGTH;
    }
    const eb_tensor_info *const t = find(in[0], in[1]);
    if (t == NULL) {
        return OUT_OF_RANGE;
    }
    uint32_t scale;
    memcpy(&scale, &t->scale, sizeof scale);
    eb_put32(out, t->bytes);
    eb_put32(out + 4, scale);
    eb_put32(out + 8, (uint32_t)t->zero_point);
    out[12] = t->dtype;
    out[13] = t->rank;
    for (uint32_t i = 0; i < t->rank; i++) {
        eb_put32(out + 14U + 4U * i, (uint32_t)t->shape[i]);
    }
    *size = 14U + 4U * t->rank;
    return OK;
}

/* in: index (1), offset (4), bytes. */
static uint8_t write_input(const uint8_t *in, uint32_t count)
{
    if (count < 5U) {
        return BAD_LENGTH;
    }
    const eb_tensor_info *const t = find(0, in[0]);
    const uint32_t offset = eb_get32(in + 1), length = count - 5U;
    if (t == NULL || offset > t->bytes || length > t->bytes - offset) {
        return OUT_OF_RANGE;
    }
    memcpy((uint8_t *)eb_app_model->input(eb_arena, in[0]) + offset, in + 5, length);
    return OK;
}

/* in: runs (4). out: shortest, longest and last run in ticks. */
static uint8_t run(const uint8_t *in, uint32_t count, uint8_t *out, uint32_t *size)
{
    if (count != 4U) {
        return BAD_LENGTH;
    }
    const uint32_t runs = eb_get32(in);
    if (runs == 0U || runs > MAX_RUNS) {
        return OUT_OF_RANGE;
    }
    uint32_t ticks = 0, shortest = UINT32_MAX, longest = 0;
    for (uint32_t i = 0; i < runs; i++) {
        if (model_status != EB_OK || eb_bench_run(&ticks) != EB_OK) {
            return MODEL_FAILED;
        }
        shortest = ticks < shortest ? ticks : shortest;
        longest = ticks > longest ? ticks : longest;
    }
    eb_put32(out, shortest);
    eb_put32(out + 4, longest);
    eb_put32(out + 8, ticks);
    *size = 12;
    return OK;
}

/* in: index (1), offset (4), length (2). */
static uint8_t read_output(const uint8_t *in, uint32_t count, uint8_t *out, uint32_t *size)
{
    if (count != 7U) {
        return BAD_LENGTH;
    }
    const eb_tensor_info *const t = find(1, in[0]);
    const uint32_t offset = eb_get32(in + 1), length = in[5] | ((uint32_t)in[6] << 8);
    if (t == NULL || length > EB_MAX_PAYLOAD || offset > t->bytes || length > t->bytes - offset) {
        return OUT_OF_RANGE;
    }
    memcpy(out, (const uint8_t *)eb_app_model->output(eb_arena, in[0]) + offset, length);
    *size = length;
    return OK;
}

/* in: first layer (4). out: ticks of as many layers of the last run as fit. */
static uint8_t read_timings(const uint8_t *in, uint32_t count, uint8_t *out, uint32_t *size)
{
    if (count != 4U) {
        return BAD_LENGTH;
    }
    const uint32_t first = eb_get32(in);
    if (first > eb_app_model->layer_count) {
        return OUT_OF_RANGE;
    }
    uint32_t used = 0;
    for (uint32_t i = first; i < eb_app_model->layer_count && used + 4U <= EB_MAX_PAYLOAD; i++) {
        eb_put32(out + used, eb_layer_ticks[i]);
        used += 4U;
    }
    *size = used;
    return OK;
}

static uint8_t read_marks(uint32_t count, uint8_t *out, uint32_t *size)
{
    if (count != 0U) {
        return BAD_LENGTH;
    }
    eb_put32(out, eb_stack_high_water());
    eb_put32(out + 4, eb_bench_arena_used());
    *size = 8;
    return OK;
}

static uint8_t dispatch(uint8_t command, const uint8_t *in, uint32_t count, uint8_t *out,
                        uint32_t *size)
{
    switch (command) {
    case IDENTIFY:
        return identify(in, count, out, size);
    case TENSOR:
        return tensor(in, count, out, size);
    case WRITE_INPUT:
        return write_input(in, count);
    case RUN:
        return run(in, count, out, size);
    case READ_OUTPUT:
        return read_output(in, count, out, size);
    case READ_TIMINGS:
        return read_timings(in, count, out, size);
    case READ_MARKS:
        return read_marks(count, out, size);
    default:
        return BAD_COMMAND;
    }
}

/* Answers a decoded frame. A repeated request gets the last answer again and is not run twice. */
static void answer(const uint8_t *frame, uint32_t count)
{
    const uint32_t body = count - EB_CRC_BYTES;
    const uint32_t crc = eb_get32(frame + body);
    if (frame[0] != EB_PROTOCOL_VERSION || eb_crc32(frame, body) != crc) {
        return;
    }
    if ((frame[2] & REPLY_BIT) != 0U) {
        return; /* our own answer, from a line that echoes: never answer an answer */
    }
    if (frame[1] != last_sequence || crc != last_crc) {
        uint32_t size = 0;
        reply[0] = EB_PROTOCOL_VERSION;
        reply[1] = frame[1];
        reply[2] = (uint8_t)(frame[2] | REPLY_BIT);
        reply[3] = dispatch(frame[2], frame + EB_HEADER_BYTES, body - EB_HEADER_BYTES,
                            reply + EB_HEADER_BYTES, &size);
        size += EB_HEADER_BYTES;
        eb_put32(reply + size, eb_crc32(reply, size));
        encoded[0] = 0;
        encoded_bytes = 1U + eb_cobs_encode(reply, size + EB_CRC_BYTES, encoded + 1);
        encoded[encoded_bytes++] = 0;
        last_sequence = frame[1];
        last_crc = crc;
    }
    eb_port_write(encoded, encoded_bytes);
}

int main(void)
{
    eb_port_init();
    model_status = eb_bench_init();
    uint32_t count = 0;
    for (;;) {
        const int32_t byte = eb_port_read();
        if (byte < 0) {
            continue;
        }
        if (byte == 0) {
            if (count > 0U && count <= sizeof received) {
                const uint32_t decoded = eb_cobs_decode(received, count);
                if (decoded >= EB_HEADER_BYTES + EB_CRC_BYTES && decoded <= EB_MAX_FRAME) {
                    answer(received, decoded);
                }
            }
            count = 0;
        } else if (count < sizeof received) {
            received[count++] = (uint8_t)byte;
        } else {
            count = (uint32_t)sizeof received + 1U; /* too long: wait for the next zero */
        }
    }
}
