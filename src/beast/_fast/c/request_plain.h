/* The short way to read a request. */
#ifndef BEAST_REQUEST_PLAIN_H
#define BEAST_REQUEST_PLAIN_H

#include "request.h"

/* Reads what nearly every client sends: the api_key, one asset, perhaps an exchange and an id, all of them strings of
 * plain characters, at most one space after colons and commas. That takes a fifth of the time of the long way, and is
 * never of another opinion: false means only that the long way has to be gone, from the beginning. Never reads outside
 * buf[0..len). */
bool beast_request_read_plain(const uint8_t *buf, size_t len, beast_request *req);

#endif
