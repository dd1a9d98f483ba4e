/* A small LwM2M server in plaintext, on libcoap: what stands behind the gate in the LwM2M scene.
 *   lwm2m-server ADDRESS PORT DELAY-MS
 * It takes registrations (OMA-TS-LightweightM2M, section 6.2). Of a device that registers it reads
 * /3/0/0 and observes /3303/0/5700, as servers do by themselves. It takes DELAY-MS to answer a
 * deregistration, as one does that has a database to tell. Each line of its output is one thing
 * that happened. */
#include <arpa/inet.h>
#include <coap3/coap.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_PATH "3/0/0"
#define OBSERVED_PATH "3303/0/5700"

/* The token of a request says what was asked: one device is served at a time. */
static const uint8_t read_token[] = {'r'}, observe_token[] = {'o'};

struct server {
    unsigned registrations; /* so far; names the next one's place under /rd */
    unsigned delay_ms;
};

static void say(const char *event, const coap_pdu_t *answer)
{
    const uint8_t *data = NULL;
    size_t len = 0;
    coap_get_data(answer, &len, &data);
    coap_pdu_code_t code = coap_pdu_get_code(answer);
    printf("%s %d.%02d %.*s\n", event, code >> 5, code & 31, (int)len, (const char *)data);
}

static coap_response_t on_answer(coap_session_t *session, const coap_pdu_t *sent,
                                 const coap_pdu_t *received, const coap_mid_t mid)
{
    (void)session;
    (void)sent;
    (void)mid;
    coap_bin_const_t token = coap_pdu_get_token(received);
    bool is_read = token.length == 1 && token.s[0] == read_token[0];
    say(is_read ? "read /" READ_PATH : "notified /" OBSERVED_PATH, received);
    return COAP_RESPONSE_OK;
}

static void ask(coap_session_t *session, const uint8_t *token, const char *path, bool observes)
{
    coap_pdu_t *request = coap_new_pdu(COAP_MESSAGE_CON, COAP_REQUEST_CODE_GET, session);
    coap_add_token(request, 1, token);
    if (observes)
        coap_add_option(request, COAP_OPTION_OBSERVE, 0, NULL); /* 0: register */
    while (*path != '\0') {
        size_t len = strcspn(path, "/");
        coap_add_option(request, COAP_OPTION_URI_PATH, len, (const uint8_t *)path);
        path += len + (path[len] == '/');
    }
    coap_send(session, request);
}

static void on_update(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                      const coap_string_t *query, coap_pdu_t *response)
{
    (void)session;
    (void)request;
    coap_str_const_t *path = coap_resource_get_uri_path(resource);
    printf("updated /%.*s %.*s\n", (int)path->length, path->s, query ? (int)query->length : 0,
           query ? (const char *)query->s : "");
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_CHANGED);
}

static void on_deregister(coap_resource_t *resource, coap_session_t *session,
                          const coap_pdu_t *request, const coap_string_t *query,
                          coap_pdu_t *response)
{
    (void)session;
    (void)request;
    (void)query;
    const struct server *server = coap_resource_get_userdata(resource);
    coap_str_const_t *path = coap_resource_get_uri_path(resource);
    usleep(server->delay_ms * 1000);
    printf("deregistered /%.*s, answering after %u ms\n", (int)path->length, path->s,
           server->delay_ms);
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_DELETED);
}

static void on_register(coap_resource_t *resource, coap_session_t *session,
                        const coap_pdu_t *request, const coap_string_t *query, coap_pdu_t *response)
{
    struct server *server = coap_resource_get_userdata(resource);
    const uint8_t *objects = NULL;
    size_t len = 0;
    char name[32];
    unsigned char from[64] = "";

    coap_get_data(request, &len, &objects);
    coap_print_addr(coap_session_get_addr_remote(session), from, sizeof from - 1);
    int name_len = snprintf(name, sizeof name, "rd/%u", ++server->registrations);
    coap_str_const_t path = {(size_t)name_len, (const uint8_t *)name};
    coap_resource_t *registration = coap_resource_init(&path, 0); /* copies the path */
    coap_resource_set_userdata(registration, server);
    coap_register_request_handler(registration, COAP_REQUEST_POST, on_update);
    coap_register_request_handler(registration, COAP_REQUEST_DELETE, on_deregister);
    coap_add_resource(coap_session_get_context(session), registration);

    coap_pdu_set_code(response, COAP_RESPONSE_CODE_CREATED);
    coap_add_option(response, COAP_OPTION_LOCATION_PATH, 2, (const uint8_t *)"rd");
    coap_add_option(response, COAP_OPTION_LOCATION_PATH, (size_t)name_len - 3,
                    (const uint8_t *)name + 3);
    printf("registered /%s from %s %.*s %.*s\n", name, (char *)from, query ? (int)query->length : 0,
           query ? (const char *)query->s : "", (int)len, (const char *)objects);
    ask(session, read_token, READ_PATH, false);
    ask(session, observe_token, OBSERVED_PATH, true);
}

int main(int argc, char **argv)
{
    struct server server = {0};
    coap_address_t address;
    if (argc != 4) {
        fprintf(stderr, "usage: lwm2m-server ADDRESS PORT DELAY-MS\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    server.delay_ms = (unsigned)strtoul(argv[3], NULL, 10);
    coap_address_init(&address);
    address.size = sizeof address.addr.sin;
    address.addr.sin.sin_family = AF_INET;
    address.addr.sin.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    if (inet_pton(AF_INET, argv[1], &address.addr.sin.sin_addr) != 1)
        return 2;

    coap_startup();
    coap_context_t *context = coap_new_context(NULL);
    if (context == NULL || coap_new_endpoint(context, &address, COAP_PROTO_UDP) == NULL) {
        fprintf(stderr, "cannot listen on %s:%s\n", argv[1], argv[2]);
        return 1;
    }
    coap_register_response_handler(context, on_answer);
    coap_resource_t *resource = coap_resource_init(coap_make_str_const("rd"), 0);
    coap_resource_set_userdata(resource, &server);
    coap_register_request_handler(resource, COAP_REQUEST_POST, on_register);
    coap_add_resource(context, resource);
    printf("listening\n");
    while (coap_io_process(context, COAP_IO_WAIT) >= 0)
        ;
    return 1;
}
