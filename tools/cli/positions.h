/* SPDX-License-Identifier: Apache-2.0
 *
 * Which positions of a sequence are meant: "first", "last", "mask:ID" (where that id stands) or numbers as "0,3,7".
 */
#ifndef CLI_POSITIONS_H
#define CLI_POSITIONS_H

#include <stdbool.h>
#include <stdint.h>

bool cli_is_positions(const char *text);
/* Whether position i, where `id` stands, of a sequence is among them. */
bool cli_has_position(const char *positions, int64_t i, int64_t length, int64_t id);

#endif
