/* SPDX-License-Identifier: Apache-2.0
 *
 * numpy's .npz: a zip archive of .npy files, stored or deflated. The central directory is what counts, as for every
 * reader of zip; sizes it claims are checked before memory is taken, and what deflated members unfold to is bounded.
 */
#include "tensor.h"
#include <stdlib.h>
#include <zlib.h>

/* No deflate stream yields more than this many bytes for one. */
#define DEFLATE_RATIO 1032

static uint64_t number(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

typedef struct member {
    const uint8_t *name;
    size_t name_size;
    unsigned flags, method;
    uint32_t crc;
    uint64_t packed, unpacked, offset;
} member;

typedef struct directory {
    uint64_t offset, size, entries;
} directory;

/* Find the end of the directory, which is followed by nothing but a comment of at most 64 KiB. */
static bool find_directory(const cli_file *f, directory *dir, gr_err *err)
{
    const uint8_t *end = NULL;
    for (size_t back = 22; back <= f->size && back <= 22 + 65535; back++) {
        const uint8_t *p = f->data + f->size - back;
        if (number(p, 4) == 0x06054b50 && number(p + 20, 2) == back - 22) {
            end = p;
            break;
        }
    }
    if (!end) return cli_fail(err, GR_EFORMAT, "not a .npz file");
    *dir = (directory){number(end + 16, 4), number(end + 12, 4), number(end + 10, 2)};
    size_t at = (size_t)(end - f->data);
    if (at >= 20 && number(end - 20, 4) == 0x07064b50) {
        uint64_t start = number(end - 12, 8);
        if (f->size < 56 || start > f->size - 56 || number(f->data + start, 4) != 0x06064b50)
            return cli_fail(err, GR_EFORMAT, "the .npz archive is damaged");
        const uint8_t *p = f->data + start;
        *dir = (directory){number(p + 48, 8), number(p + 40, 8), number(p + 32, 8)};
    }
    if (dir->offset > f->size || dir->size > f->size - dir->offset || dir->entries > dir->size / 46)
        return cli_fail(err, GR_EFORMAT, "the .npz archive is damaged");
    return true;
}

/* The 64-bit sizes that stand in an extra field where the fixed fields are all ones. */
static bool read_extra(const uint8_t *p, size_t size, member *m)
{
    while (size >= 4) {
        size_t id = number(p, 2), n = number(p + 2, 2);
        p += 4, size -= 4;
        if (n > size) return false;
        if (id == 1) {
            uint64_t *field[] = {&m->unpacked, &m->packed, &m->offset};
            size_t used = 0;
            for (int i = 0; i < 3; i++) {
                if (*field[i] != UINT32_MAX) continue;
                if (n - used < 8) return false;
                *field[i] = number(p + used, 8);
                used += 8;
            }
            return true;
        }
        p += n, size -= n;
    }
    return true;
}

static bool read_entry(const uint8_t **at, const uint8_t *end, member *m, gr_err *err)
{
    const uint8_t *p = *at;
    bool ok = end - p >= 46 && number(p, 4) == 0x02014b50;
    if (ok) {
        size_t name = number(p + 28, 2), extra = number(p + 30, 2), comment = number(p + 32, 2);
        *m = (member){p + 46,
                      name,
                      (unsigned)number(p + 8, 2),
                      (unsigned)number(p + 10, 2),
                      (uint32_t)number(p + 16, 4),
                      number(p + 20, 4),
                      number(p + 24, 4),
                      number(p + 42, 4)};
        ok = (size_t)(end - p) - 46 >= name + extra + comment && read_extra(p + 46 + name, extra, m);
        *at = p + 46 + name + extra + comment;
    }
    return ok || cli_fail(err, GR_EFORMAT, "the .npz archive is damaged");
}

/* The packed bytes of a member. */
static bool locate(const cli_file *f, const member *m, const uint8_t **data, gr_err *err)
{
    bool ok = f->size >= 30 && m->offset <= f->size - 30 && number(f->data + m->offset, 4) == 0x04034b50;
    if (ok) {
        const uint8_t *p = f->data + m->offset;
        uint64_t start = m->offset + 30 + number(p + 26, 2) + number(p + 28, 2);
        ok = start <= f->size && m->packed <= f->size - start;
        *data = f->data + start;
    }
    return ok || cli_fail(err, GR_EFORMAT, "the .npz archive is damaged");
}

static bool unfold(const member *m, const uint8_t *packed, size_t *budget, uint8_t **out, gr_err *err)
{
    if (m->unpacked / DEFLATE_RATIO > m->packed + 1)
        return cli_fail(err, GR_EFORMAT, "the .npz archive claims more bytes than its data can hold");
    if (m->unpacked > *budget)
        return cli_fail(err, GR_ELIMIT, "the .npz archive unfolds to more than the limit; --max-memory raises it");
    *budget -= (size_t)m->unpacked;
    uint8_t *data = malloc(m->unpacked ? (size_t)m->unpacked : 1);
    if (!data) return cli_fail(err, GR_ENOMEM, "out of memory");
    z_stream z = {0};
    int status = inflateInit2(&z, -MAX_WBITS);
    uint64_t in = 0, done = 0;
    while (status == Z_OK) {
        uInt give = (uInt)(m->packed - in > UINT32_MAX / 2 ? UINT32_MAX / 2 : m->packed - in);
        uInt room = (uInt)(m->unpacked - done > UINT32_MAX / 2 ? UINT32_MAX / 2 : m->unpacked - done);
        z.next_in = (Bytef *)packed + in, z.avail_in = give;
        z.next_out = data + done, z.avail_out = room;
        status = inflate(&z, Z_NO_FLUSH);
        in += give - z.avail_in, done += room - z.avail_out;
    }
    inflateEnd(&z);
    if (status == Z_STREAM_END && done == m->unpacked) {
        *out = data;
        return true;
    }
    free(data);
    return cli_fail(err, GR_EFORMAT, "the .npz archive is damaged");
}

static uint32_t checksum(const uint8_t *data, size_t size)
{
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), data, size);
}

static bool read_member(cli_file *f, const member *m, size_t *budget, cli_tensor *out, gr_err *err)
{
    const uint8_t *packed = NULL;
    if (m->flags & 1) return cli_fail(err, GR_EUNSUPPORTED, "the .npz archive is encrypted");
    if (m->method != 0 && m->method != 8)
        return cli_fail(err, GR_EUNSUPPORTED, "method %u of the .npz archive is not supported", m->method);
    if (!locate(f, m, &packed, err)) return false;
    if (m->method == 0) {
        if (m->packed != m->unpacked || checksum(packed, (size_t)m->packed) != m->crc)
            return cli_fail(err, GR_EFORMAT, "the .npz archive is damaged");
        return cli_npy_parse(f, packed, (size_t)m->packed, out, err);
    }
    cli_file *inner = cli_alloc(sizeof *inner);
    uint8_t *data = NULL;
    inner->refs = 1;
    bool ok = unfold(m, packed, budget, &data, err);
    inner->data = data, inner->size = ok ? (size_t)m->unpacked : 0;
    if (ok && checksum(inner->data, inner->size) != m->crc)
        ok = cli_fail(err, GR_EFORMAT, "the .npz archive is damaged");
    ok = ok && cli_npy_parse(inner, inner->data, inner->size, out, err);
    cli_file_drop(inner);
    return ok;
}

static bool named_before(const cli_tensor *tensors, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(tensors[i].name, name)) return true;
    return false;
}

bool cli_npz_parse(cli_file *file, size_t max_inflated, cli_tensor **out, size_t *count, gr_err *err)
{
    directory dir = {0};
    if (!find_directory(file, &dir, err)) return false;
    const uint8_t *at = file->data + dir.offset, *end = at + dir.size;
    cli_tensor *tensors = NULL;
    size_t n = 0, cap = 0;
    bool ok = true;
    for (uint64_t i = 0; ok && i < dir.entries; i++) {
        member m = {0};
        ok = read_entry(&at, end, &m, err);
        if (!ok || m.name_size < 4 || memcmp(m.name + m.name_size - 4, ".npy", 4)) continue;
        cli_tensor tensor;
        char *name = cli_strndup((const char *)m.name, m.name_size - 4);
        if (strlen(name) != m.name_size - 4)
            ok = cli_fail(err, GR_EFORMAT, "a member's name holds a NUL");
        else if (n >= 4096)
            ok = cli_fail(err, GR_ELIMIT, "the .npz archive has more than 4096 members");
        else if (named_before(tensors, n, name))
            ok = cli_fail(err, GR_EFORMAT, "two members are named '%s'", cli_show(name));
        else
            ok = read_member(file, &m, &max_inflated, &tensor, err) ||
                 cli_fail_context(err, "member '%s'", cli_show(name));
        if (ok) {
            tensor.name = name;
            *CLI_PUSH(tensors, n, cap) = tensor;
        } else {
            free(name);
        }
    }
    if (ok) {
        *out = tensors, *count = n;
        return true;
    }
    for (size_t i = 0; i < n; i++) cli_tensor_free(&tensors[i]);
    free(tensors);
    return false;
}

/* ---- Writing ---- */

typedef struct sum {
    uint32_t crc;
    uint64_t size;
} sum;

static bool put_sum(void *to, const void *data, size_t size, gr_err *err)
{
    (void)err;
    sum *s = to;
    s->crc = (uint32_t)crc32_z(s->crc, data, size);
    s->size += size;
    return true;
}

static bool put_file(void *to, const void *data, size_t size, gr_err *err)
{
    return cli_out_write(to, data, size, err);
}

static void append(cli_text *t, uint64_t value, int bytes)
{
    char b[8];
    for (int i = 0; i < bytes; i++) b[i] = (char)(value >> (8 * i));
    cli_add_bytes(t, b, (size_t)bytes);
}

/* Names are UTF-8 (bit 11); the time stamp is the format's first, so that equal contents give equal files. */
#define FLAGS   0x0800
#define FIRST   0x00210000u
#define VERSION 45

bool cli_zip_add(cli_zip *zip, const char *name, cli_emit_fn emit, const void *what, gr_err *err)
{
    sum s = {(uint32_t)crc32_z(0, NULL, 0), 0};
    if (!emit(what, put_sum, &s, err)) return false;
    size_t name_size = strlen(name);
    if (name_size > 4096) return cli_fail(err, GR_ELIMIT, "the name '%s' is too long for an archive", cli_show(name));
    bool large = s.size >= UINT32_MAX, far = zip->offset >= UINT32_MAX;

    cli_text local = {0};
    append(&local, 0x04034b50, 4), append(&local, VERSION, 2), append(&local, FLAGS, 2), append(&local, 0, 2);
    append(&local, FIRST, 4), append(&local, s.crc, 4);
    append(&local, large ? UINT32_MAX : s.size, 4), append(&local, large ? UINT32_MAX : s.size, 4);
    append(&local, name_size, 2), append(&local, large ? 20 : 0, 2);
    cli_add_bytes(&local, name, name_size);
    if (large) append(&local, 1, 2), append(&local, 16, 2), append(&local, s.size, 8), append(&local, s.size, 8);
    bool ok = cli_out_write(zip->out, local.data, local.size, err) && emit(what, put_file, zip->out, err);

    cli_text *d = &zip->directory;
    size_t extra = (large ? 16 : 0) + (far ? 8 : 0);
    append(d, 0x02014b50, 4), append(d, VERSION, 2), append(d, VERSION, 2), append(d, FLAGS, 2), append(d, 0, 2);
    append(d, FIRST, 4), append(d, s.crc, 4);
    append(d, large ? UINT32_MAX : s.size, 4), append(d, large ? UINT32_MAX : s.size, 4);
    append(d, name_size, 2), append(d, extra ? extra + 4 : 0, 2), append(d, 0, 8), append(d, 0, 2);
    append(d, far ? UINT32_MAX : zip->offset, 4);
    cli_add_bytes(d, name, name_size);
    if (extra) append(d, 1, 2), append(d, extra, 2);
    if (large) append(d, s.size, 8), append(d, s.size, 8);
    if (far) append(d, zip->offset, 8);

    zip->offset += local.size + s.size;
    zip->members++;
    cli_text_free(&local);
    return ok;
}

bool cli_zip_end(cli_zip *zip, gr_err *err)
{
    cli_text end = {0};
    uint64_t size = zip->directory.size;
    if (zip->members >= UINT16_MAX || zip->offset >= UINT32_MAX || size >= UINT32_MAX) {
        append(&end, 0x06064b50, 4), append(&end, 44, 8), append(&end, VERSION, 2), append(&end, VERSION, 2),
            append(&end, 0, 8);
        append(&end, zip->members, 8), append(&end, zip->members, 8), append(&end, size, 8),
            append(&end, zip->offset, 8);
        append(&end, 0x07064b50, 4), append(&end, 0, 4), append(&end, zip->offset + size, 8), append(&end, 1, 4);
    }
    uint64_t count = zip->members >= UINT16_MAX ? UINT16_MAX : zip->members;
    append(&end, 0x06054b50, 4), append(&end, 0, 4), append(&end, count, 2), append(&end, count, 2);
    append(&end, size >= UINT32_MAX ? UINT32_MAX : size, 4);
    append(&end, zip->offset >= UINT32_MAX ? UINT32_MAX : zip->offset, 4), append(&end, 0, 2);
    bool ok =
        cli_out_write(zip->out, zip->directory.data, size, err) && cli_out_write(zip->out, end.data, end.size, err);
    cli_text_free(&zip->directory);
    cli_text_free(&end);
    return ok;
}
