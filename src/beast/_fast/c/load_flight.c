#include "load_inner.h"

#include <stdlib.h>

#define FIRST_ID UINT64_C(1000000000) /* all ids have BEAST_LOAD_ID_DIGITS digits */
#define LAST_ID UINT64_C(9999999999)

static bool by_id(const beast_load *load)
{
    return load->flights != NULL;
}

/* Room for twice what can be in flight: in the open loop everything that is not yet given up. */
beast_status beast_flights_open(beast_load *load)
{
    const beast_load_config *c = load->config;
    if (c->protocol == BEAST_LOAD_HTTP || c->check == BEAST_LOAD_CHECK_NONE)
        return BEAST_OK;
    uint64_t patience_ns = (uint64_t)c->timeout_ns * 3 / 2;
    uint64_t most = c->rate > 0 ? patience_ns / 1000000 * c->rate / 1000 + BEAST_LOAD_WINDOW_MAX : c->in_flight;
    uint64_t size = 256;
    while (size < 2 * most)
        size *= 2;
    load->next_id = FIRST_ID;
    load->flights_mask = size - 1;
    load->flights = calloc(size, sizeof *load->flights);
    return load->flights == NULL ? BEAST_NO_MEMORY : BEAST_OK;
}

uint32_t beast_flight_room(const beast_load *load, const beast_load_socket *s, uint32_t most)
{
    uint32_t room = s->window > s->in_flight ? s->window - s->in_flight : 0;
    if (by_id(load) && load->in_flight > load->flights_mask / 2) /* so many are free, or an id is hard to find */
        return 0;
    return beast_load_least(beast_load_least(room, most), BEAST_LOAD_WINDOW_MAX);
}

/* The next id whose place is free. */
static uint64_t next_id(beast_load *load)
{
    do {
        load->next_id = load->next_id == LAST_ID ? FIRST_ID : load->next_id + 1;
    } while (load->flights[load->next_id & load->flights_mask].id != 0);
    return load->next_id;
}

beast_flight beast_flight_next(beast_load *load, const beast_load_socket *s, uint32_t ahead, int64_t now)
{
    return (beast_flight){.id = by_id(load) ? next_id(load) : 0,
                          .due_ns = load->config->rate > 0 ? beast_load_due(load, load->issued + ahead) : now,
                          .sent_ns = now,
                          .client = (uint32_t)(s - load->sockets)};
}

void beast_flight_begin(beast_load *load, beast_load_socket *s, const beast_flight *flight)
{
    if (by_id(load))
        load->flights[flight->id & load->flights_mask] = *flight;
    else
        s->queue[(s->first + s->in_flight) % BEAST_LOAD_WINDOW_MAX] = *flight;
    s->in_flight++;
    load->in_flight++;
    load->issued++;
    beast_load_add(&load->report->sent, 1);
}

bool beast_flight_end(beast_load *load, beast_load_socket *s, uint64_t id, beast_flight *found)
{
    if (by_id(load)) {
        beast_flight *flight = &load->flights[id & load->flights_mask];
        if (id == 0 || flight->id != id || flight->client != s - load->sockets)
            return false;
        *found = *flight;
        flight->id = 0;
    } else {
        if (s->in_flight == 0)
            return false;
        *found = s->queue[s->first];
        s->first = (s->first + 1) % BEAST_LOAD_WINDOW_MAX;
    }
    s->in_flight--;
    load->in_flight--;
    return true;
}

void beast_flight_lose(beast_load *load, beast_load_socket *s)
{
    beast_flight lost;
    beast_load_add(&load->report->lost, s->in_flight);
    if (by_id(load)) {
        load->in_flight -= s->in_flight; /* their places are never looked at again */
        s->in_flight = 0;
    }
    while (beast_flight_end(load, s, 0, &lost)) {
    }
}

static void expire_by_id(beast_load *load, int64_t oldest)
{
    for (uint64_t i = 0; i <= load->flights_mask; i++) {
        beast_flight *flight = &load->flights[i];
        if (flight->id != 0 && flight->sent_ns < oldest) {
            flight->id = 0;
            load->sockets[flight->client].in_flight--;
            load->in_flight--;
            beast_load_add(&load->report->lost, 1);
        }
    }
}

bool beast_flight_overdue(const beast_load_socket *s, int64_t oldest)
{
    return s->in_flight > 0 && s->queue[s->first].sent_ns < oldest;
}

beast_status beast_flights_expire(beast_load *load, int64_t oldest)
{
    beast_flight lost;
    if (by_id(load)) {
        expire_by_id(load, oldest);
        return BEAST_OK;
    }
    for (uint32_t i = 0; i < load->config->sockets; i++) {
        beast_load_socket *s = &load->sockets[i];
        while (beast_flight_overdue(s, oldest) && beast_flight_end(load, s, 0, &lost))
            beast_load_add(&load->report->lost, 1);
    }
    return BEAST_OK;
}
