/* SPDX-License-Identifier: Apache-2.0
 *
 * Words, numbers, strings and notes of the textual syntax, written in pieces to whoever takes them.
 */
#include "text_out.h"

enum { MAX_INDENT = 60 };

void gr_text_flush(gr_text_out *p)
{
    if (p->used && !p->stopped && !p->write(p->user, p->buffer, p->used)) p->stopped = true;
    p->used = 0;
}

void gr_text_put(gr_text_out *p, const char *s, size_t n)
{
    p->fresh = false;
    p->column += n;
    while (n > 0) {
        size_t part = n < GR_TEXT_BUFFER - p->used ? n : GR_TEXT_BUFFER - p->used;
        memcpy(p->buffer + p->used, s, part);
        p->used += part;
        s += part;
        n -= part;
        if (p->used == GR_TEXT_BUFFER) gr_text_flush(p);
    }
}

void gr_text_puts(gr_text_out *p, const char *s) { gr_text_put(p, s, strlen(s)); }

void gr_text_put_char(gr_text_out *p, char c) { gr_text_put(p, &c, 1); }

void gr_text_new_line(gr_text_out *p)
{
    static const char spaces[MAX_INDENT + 1] = "                                                            ";
    gr_text_puts(p, "\n");
    gr_text_put(p, spaces, p->indent < MAX_INDENT ? (size_t)p->indent : MAX_INDENT);
    p->column = 0;
    p->fresh = true;
}

void gr_text_put_int(gr_text_out *p, int64_t value)
{
    char text[GR_NUMBER_ROOM];
    gr_text_put(p, text, gr_int_to_text(value, text));
}

/* A nan whose bits are not those that "nan" reads back as gets them in a note; the note's line must end behind it. */
static void put_bits(gr_text_out *p, uint64_t bits, int width)
{
    char text[16];
    for (int i = 0; i < width; i++) text[i] = "0123456789abcdef"[bits >> 4 * (width - 1 - i) & 15];
    gr_text_puts(p, " #: bits ");
    gr_text_put(p, text, (size_t)width);
    gr_text_new_line(p);
}

void gr_text_put_float(gr_text_out *p, const void *at)
{
    char text[GR_NUMBER_ROOM];
    float f;
    uint32_t bits;
    memcpy(&f, at, sizeof f);
    memcpy(&bits, at, sizeof bits);
    gr_text_put(p, text, gr_float_to_text(f, text));
    if (f != f && (bits & 0x7FFFFFFF) != 0x7FC00000) put_bits(p, bits, 8);
}

void gr_text_put_double(gr_text_out *p, const void *at)
{
    char text[GR_NUMBER_ROOM];
    double d;
    uint64_t bits;
    memcpy(&d, at, sizeof d);
    memcpy(&bits, at, sizeof bits);
    gr_text_put(p, text, gr_double_to_text(d, text));
    if (d != d && (bits & INT64_MAX) != 0x7FF8000000000000) put_bits(p, bits, 16);
}

/* Within quotes; bytes that are held as C0 80 in a name go out as NUL. In notes a newline is \n. */
static void put_escaped(gr_text_out *p, const char *s, size_t n, bool is_name, bool is_note)
{
    size_t done = 0;
    for (size_t i = 0; i < n; i++) {
        bool nul = is_name && (unsigned char)s[i] == 0xC0 && i + 1 < n && (unsigned char)s[i + 1] == 0x80;
        bool line = is_note && s[i] == '\n';
        if (!nul && !line && s[i] != '"' && s[i] != '\\') continue;
        gr_text_put(p, s + done, i - done);
        done = i;
        if (nul) {
            gr_text_put(p, "", 1);
            done = i + 2;
            i++;
        } else if (line) {
            gr_text_put(p, "\\n", 2);
            done = i + 1;
        } else {
            gr_text_put_char(p, '\\');
        }
    }
    gr_text_put(p, s + done, n - done);
}

void gr_text_put_quoted(gr_text_out *p, const char *name)
{
    gr_text_put_char(p, '"');
    put_escaped(p, name, strlen(name), true, false);
    gr_text_put_char(p, '"');
}

void gr_text_put_bytes(gr_text_out *p, gr_bytes_view bytes)
{
    gr_text_put_char(p, '"');
    put_escaped(p, bytes.data, bytes.size, false, false);
    gr_text_put_char(p, '"');
}

/* The length of the word at s, 0 if there is none. */
static size_t word_length(const char *s)
{
    static const char letters[] = "_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    return *s >= '0' && *s <= '9' ? 0 : strspn(s, letters);
}

static bool is_word(const char *s) { return s && word_length(s) && s[word_length(s)] == 0; }

bool gr_text_is_identifier(const char *s) { return is_word(s) && !gr_text_is_type(s, strlen(s)); }

void gr_text_put_name(gr_text_out *p, const char *name)
{
    if (gr_text_is_identifier(name))
        gr_text_puts(p, name);
    else
        gr_text_put_quoted(p, name ? name : "");
}

/* Where no type can stand. onnx.parser takes no quotes in these places. */
void gr_text_put_word(gr_text_out *p, const char *word)
{
    if (is_word(word))
        gr_text_puts(p, word);
    else
        gr_text_put_quoted(p, word ? word : "");
}

void gr_text_put_dotted(gr_text_out *p, const char *name)
{
    const char *s = name;
    while (word_length(s) && s[word_length(s)] == '.') s += word_length(s) + 1;
    if (is_word(s))
        gr_text_puts(p, name);
    else
        gr_text_put_quoted(p, name);
}

/* ---- notes ---- */

void gr_text_put_note(gr_text_out *p, const char *key, const char *first, const char *second)
{
    if (!p->fresh) gr_text_new_line(p);
    gr_text_puts(p, "#: ");
    gr_text_puts(p, key);
    gr_text_puts(p, " \"");
    put_escaped(p, first, strlen(first), true, true);
    if (second) {
        gr_text_puts(p, "\": \"");
        put_escaped(p, second, strlen(second), true, true);
    }
    gr_text_puts(p, "\"");
    gr_text_new_line(p);
}

void gr_text_put_notes(gr_text_out *p, const char *doc, const gr_doc_props *meta)
{
    if (p->options.no_notes) return;
    if (doc && *doc) gr_text_put_note(p, "doc", doc, NULL);
    for (size_t i = 0; meta && i < meta->count; i++)
        gr_text_put_note(p, "meta", meta->items[i].key ? meta->items[i].key : "",
                         meta->items[i].value ? meta->items[i].value : "");
}

void gr_text_put_denotation(gr_text_out *p, const char *denotation)
{
    if (denotation && *denotation && !p->options.no_notes) gr_text_put_note(p, "denotation", denotation, NULL);
}
