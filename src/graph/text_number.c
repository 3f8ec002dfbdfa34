/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers as text and back, exact and independent of the locale. The common cases (at most 19 digits, a small power of
 * ten) are done in doubles, where one correctly rounded operation decides; the C library gets the rest, and only in
 * spellings without a decimal point, which is where locales differ.
 */
#include "text_lex.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { EXACT_POWER = 22, SLOW_DIGITS = 780 }; /* 10^22 is the last power that a double holds; 767 digits decide one */

static const double powers[EXACT_POWER + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                               1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* value = digits * 10^exponent; `cut`: more digits followed that are not in `digits`. */
typedef struct decimal {
    uint64_t digits;
    int exponent;
    bool negative, cut;
} decimal;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* digits [. digits] [e [sign] digits]; false if that is not what s is. */
static bool scan(const char *s, size_t n, decimal *out)
{
    const char *end = s + n;
    bool any = false, point = false;
    int64_t exponent = 0;
    int significant = 0;
    *out = (decimal){0};
    if (s < end && *s == '-') {
        out->negative = true;
        s++;
    }
    for (; s < end && (is_digit(*s) || (*s == '.' && !point)); s++) {
        if (*s == '.') {
            point = true;
            continue;
        }
        any = true;
        if (significant < 19) {
            out->digits = out->digits * 10 + (uint64_t)(*s - '0');
            if (out->digits) significant++;
            if (point) exponent--;
        } else {
            out->cut |= *s != '0';
            if (!point) exponent++;
        }
    }
    if (!any) return false;
    if (s < end && (*s == 'e' || *s == 'E')) {
        bool minus = ++s < end && *s == '-';
        int64_t e = 0;
        if (s < end && (*s == '-' || *s == '+')) s++;
        if (s == end) return false;
        for (; s < end && is_digit(*s); s++)
            if (e < INT32_MAX / 20) e = e * 10 + (*s - '0');
        exponent += minus ? -e : e;
    }
    if (exponent > INT32_MAX / 2) exponent = INT32_MAX / 2;
    if (exponent < INT32_MIN / 2) exponent = INT32_MIN / 2;
    out->exponent = (int)exponent;
    return s == end;
}

static bool word_is(const char *s, size_t n, const char *word)
{
    if (strlen(word) != n) return false;
    for (size_t i = 0; i < n; i++)
        if ((s[i] | 0x20) != word[i]) return false;
    return true;
}

/* inf, infinity and nan in any case, with a minus sign or without. */
static bool special(const char *s, size_t n, double *out)
{
    bool negative = n > 0 && *s == '-';
    s += negative;
    n -= negative;
    if (word_is(s, n, "nan"))
        *out = NAN;
    else if (word_is(s, n, "inf") || word_is(s, n, "infinity"))
        *out = INFINITY;
    else
        return false;
    if (negative) *out = copysign(*out, -1.0);
    return true;
}

/* The digits without a point, then the exponent: what strtod reads alike in every locale. Digits beyond those that can
 * decide the rounding are replaced by a 1 if any is not zero. */
static void plain_spelling(const char *s, size_t n, const decimal *d, char out[SLOW_DIGITS + 40])
{
    size_t length = 0;
    int64_t exponent = d->exponent;
    if (!d->cut) {
        snprintf(out, SLOW_DIGITS + 40, "%llue%d", (unsigned long long)d->digits, d->exponent);
        return;
    }
    bool sticky = false;
    size_t beyond = 0; /* digits of `significant` after the 19 that the exponent counts for */
    for (size_t i = 0; i < n && s[i] != 'e' && s[i] != 'E'; i++) {
        if (!is_digit(s[i]) || (length == 0 && s[i] == '0')) continue;
        if (length < SLOW_DIGITS) {
            if (length >= 19) beyond++;
            out[length++] = s[i];
        } else {
            sticky |= s[i] != '0';
        }
    }
    exponent -= (int64_t)beyond;
    if (sticky) {
        out[length++] = '1';
        exponent--;
    }
    snprintf(out + length, 24, "e%lld", (long long)exponent);
}

/* digits * 10^exponent rounded once; false if that cannot be done in one operation. */
static bool fast_double(uint64_t digits, int exponent, double *out)
{
    if (digits >= (uint64_t)1 << 53 || exponent < -EXACT_POWER || exponent > EXACT_POWER) return false;
    *out = exponent < 0 ? (double)digits / powers[-exponent] : (double)digits * powers[exponent];
    return true;
}

/* The same as a float: rounding the double again is right unless it lies on the middle between two floats. */
static bool fast_float(uint64_t digits, int exponent, float *out)
{
    double d;
    if (!fast_double(digits, exponent, &d) || (d != 0 && (d < FLT_MIN || d >= FLT_MAX))) return false;
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    if ((bits & 0x1FFFFFFF) == 0x10000000) return false;
    *out = (float)d;
    return true;
}

bool gr_text_to_float(const char *s, size_t n, float *out)
{
    decimal d;
    double word;
    if (special(s, n, &word)) {
        *out = (float)word;
        return true;
    }
    if (!scan(s, n, &d)) return false;
    if (d.cut || !fast_float(d.digits, d.exponent, out)) {
        char plain[SLOW_DIGITS + 40];
        plain_spelling(s, n, &d, plain);
        *out = strtof(plain, NULL);
    }
    if (d.negative) *out = -*out;
    return !isinf(*out);
}

bool gr_text_to_double(const char *s, size_t n, double *out)
{
    decimal d;
    if (special(s, n, out)) return true;
    if (!scan(s, n, &d)) return false;
    if (d.cut || !fast_double(d.digits, d.exponent, out)) {
        char plain[SLOW_DIGITS + 40];
        plain_spelling(s, n, &d, plain);
        *out = strtod(plain, NULL);
    }
    if (d.negative) *out = -*out;
    return !isinf(*out);
}

size_t gr_uint_to_text(uint64_t value, char *out)
{
    char reversed[20];
    size_t n = 0;
    do reversed[n++] = (char)('0' + value % 10);
    while (value /= 10);
    for (size_t i = 0; i < n; i++) out[i] = reversed[n - 1 - i];
    return n;
}

size_t gr_int_to_text(int64_t value, char *out)
{
    if (value >= 0) return gr_uint_to_text((uint64_t)value, out);
    out[0] = '-';
    return 1 + gr_uint_to_text(-(uint64_t)value, out + 1);
}

/* Lay out digits * 10^exponent: plain between 0.00001 and 10^16, else with an exponent. */
static size_t spell(bool negative, uint64_t digits, int exponent, char *out)
{
    char d[GR_NUMBER_ROOM];
    char *o = out;
    while (digits && digits % 10 == 0) {
        digits /= 10;
        exponent++;
    }
    int n = (int)gr_uint_to_text(digits, d);
    int point = n + exponent; /* where the decimal point stands, counted from the first digit */
    if (negative) *o++ = '-';
    if (point > -5 && point <= 0) {
        *o++ = '0';
        *o++ = '.';
        memset(o, '0', (size_t)-point);
        o += -point;
        memcpy(o, d, (size_t)n);
        o += n;
    } else if (point > 0 && point <= 16) {
        for (int i = 0; i < n || i < point; i++) {
            if (i == point) *o++ = '.';
            *o++ = i < n ? d[i] : '0';
        }
    } else {
        *o++ = d[0];
        if (n > 1) *o++ = '.';
        memcpy(o, d + 1, (size_t)n - 1);
        o += n - 1;
        *o++ = 'e';
        o += gr_int_to_text(point - 1, o);
    }
    return (size_t)(o - out);
}

static size_t spell_special(double value, char *out)
{
    const char *word = isnan(value) ? "nan" : isinf(value) ? "inf" : "0";
    size_t n = 0;
    if (signbit(value)) out[n++] = '-';
    memcpy(out + n, word, strlen(word));
    return n + strlen(word);
}

/* Fewest digits by trial, from `least` to `most`, which always suffice. */
static size_t slow_shortest(double value, bool single, int least, int most, char *out)
{
    size_t n = 0;
    for (int p = least; p <= most; p++) {
        char text[GR_NUMBER_ROOM];
        decimal d = {0};
        bool behind = false;
        int exponent = 0, sign = 1;
        snprintf(text, sizeof text, "%.*e", p - 1, fabs(value));
        for (const char *c = text; *c; c++) {
            if (*c == 'e')
                behind = true;
            else if (*c == '-')
                sign = -1;
            else if (is_digit(*c) && behind)
                exponent = exponent * 10 + (*c - '0');
            else if (is_digit(*c))
                d.digits = d.digits * 10 + (uint64_t)(*c - '0');
        }
        n = spell(signbit(value), d.digits, sign * exponent - (p - 1), out);
        float f;
        double again;
        if (single ? gr_text_to_float(out, n, &f) && (double)f == value
                   : gr_text_to_double(out, n, &again) && again == value)
            break;
    }
    return n;
}

/* A positive float as a number with nine digits before the point, and the power of ten that it counts; false if out of
 * the exact powers' range. */
static bool scale(float value, double *scaled, int *exponent)
{
    int binary;
    double v = value;
    frexp(v, &binary);
    int magnitude = (int)floor((binary - 1) * 0.30102999566398120); /* at most one too small */
    for (int attempt = 0; attempt < 2; attempt++, magnitude++) {
        int shift = 8 - magnitude;
        if (shift < -EXACT_POWER || shift > EXACT_POWER) return false;
        *scaled = shift < 0 ? v / powers[-shift] : v * powers[shift];
        *exponent = -shift;
        if (*scaled < 1e9) return true;
    }
    return false;
}

/* The digits of `scaled` without its last `drop`; true if they read back as `value`. */
static bool digits_suffice(double scaled, int exponent, int drop, float value, uint64_t *digits)
{
    float again;
    *digits = (uint64_t)(scaled / powers[drop] + 0.5);
    return fast_float(*digits, exponent + drop, &again) && again == value;
}

size_t gr_float_to_text(float value, char *out)
{
    double scaled;
    uint64_t digits;
    int exponent;
    if (value == 0 || !isfinite(value)) return spell_special(value, out);
    if (scale(fabsf(value), &scaled, &exponent)) {
        /* Weights need 7 to 9 digits as a rule: if six do not suffice, fewer are not tried. */
        int drop = digits_suffice(scaled, exponent, 3, fabsf(value), &digits) ? 8 : 2;
        for (; drop >= 0; drop--)
            if (digits_suffice(scaled, exponent, drop, fabsf(value), &digits))
                return spell(signbit(value), digits, exponent + drop, out);
    }
    return slow_shortest(value, true, fabsf(value) < FLT_MIN ? 1 : 6, 9, out);
}

size_t gr_double_to_text(double value, char *out)
{
    if (value == 0 || !isfinite(value)) return spell_special(value, out);
    return slow_shortest(value, false, fabs(value) < DBL_MIN ? 1 : 15, 17, out);
}
