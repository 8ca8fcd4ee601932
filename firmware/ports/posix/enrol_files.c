#include "ports/posix/enrol_files.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static const char key_name[] = "key.pem";

static bool fail(char reason[IDENTITY_REASON_BYTES], const char *what, const char *path, const char *why)
{
    (void)snprintf(reason, IDENTITY_REASON_BYTES, "%s %.300s: %.100s", what, path, why);
    return false;
}

static void join(char out[PATH_BYTES], const char *directory, const char *name, const char *suffix)
{
    (void)snprintf(out, PATH_BYTES, "%s/%s%s", directory, name, suffix);
}

bool enrol_directory(const char *directory, char reason[IDENTITY_REASON_BYTES])
{
    struct stat status;

    if (mkdir(directory, S_IRWXU) == 0) {
        return true;
    }
    if (errno != EEXIST) {
        return fail(reason, "cannot make the identity directory", directory, strerror(errno));
    }
    return (stat(directory, &status) == 0 && S_ISDIR(status.st_mode)) ||
           fail(reason, "cannot use --identity", directory, "it is not a directory");
}

bool enrol_has(const char *directory, const char *name)
{
    char path[PATH_BYTES];

    join(path, directory, name, "");
    return access(path, F_OK) == 0;
}

X509 *enrol_certificate(const char *directory)
{
    char path[PATH_BYTES];

    join(path, directory, "cert.pem", "");
    FILE *file = fopen(path, "re");
    X509 *certificate = file == NULL ? NULL : PEM_read_X509(file, NULL, NULL, NULL);
    if (file != NULL) {
        (void)fclose(file);
    }
    ERR_clear_error();
    return certificate;
}

bool enrol_holds(const char *directory, const char *name, const char *text)
{
    char path[PATH_BYTES];
    char found[128] = "";

    join(path, directory, name, "");
    FILE *file = fopen(path, "re");
    size_t size = file == NULL ? 0 : fread(found, 1, sizeof found - 1, file);
    if (file != NULL) {
        (void)fclose(file);
    }
    return size > 0 && strcmp(found, text) == 0;
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t taken = write(fd, data, size);

        if (taken < 0) {
            return false;
        }
        data += taken;
        size -= (size_t)taken;
    }
    return fsync(fd) == 0;
}

/* A new directory entry is durable only after the directory is synced. */
static bool sync_directory(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    return done;
}

bool enrol_write(const char *directory, const char *name, const void *data, size_t size, mode_t mode,
                 char reason[IDENTITY_REASON_BYTES])
{
    char path[PATH_BYTES];
    char made[PATH_BYTES];

    join(path, directory, name, "");
    join(made, directory, name, ".new");
    (void)unlink(made); /* Left by an interrupted start. */
    int fd = open(made, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) {
        return fail(reason, "cannot write", made, strerror(errno));
    }
    bool written = write_all(fd, data, size);
    int failure = errno;
    if (close(fd) != 0 || !written) {
        return fail(reason, "cannot write", made, strerror(written ? errno : failure));
    }
    if (rename(made, path) != 0 || !sync_directory(directory)) {
        return fail(reason, "cannot write", path, strerror(errno));
    }
    return true;
}

static EVP_PKEY *make_key(const char *directory, char reason[IDENTITY_REASON_BYTES])
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *text = BIO_new(BIO_s_mem());
    char *data = NULL;

    bool made = key != NULL && text != NULL && PEM_write_bio_PKCS8PrivateKey(text, key, NULL, NULL, 0, NULL, NULL) == 1;
    if (!made) {
        (void)snprintf(reason, IDENTITY_REASON_BYTES, "cannot make a key");
    }
    long size = made ? BIO_get_mem_data(text, &data) : 0;
    made = made && enrol_write(directory, key_name, data, (size_t)size, S_IRUSR | S_IWUSR, reason);
    if (data != NULL) {
        OPENSSL_cleanse(data, (size_t)size);
    }
    BIO_free(text);
    if (!made) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

static bool is_p256(const EVP_PKEY *key)
{
    char group[32] = "";

    return EVP_PKEY_is_a(key, "EC") == 1 && EVP_PKEY_get_group_name(key, group, sizeof group, NULL) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

EVP_PKEY *enrol_key(const char *directory, char reason[IDENTITY_REASON_BYTES])
{
    struct identity identity = {0};
    char path[PATH_BYTES];

    if (!enrol_has(directory, key_name)) {
        return make_key(directory, reason);
    }
    join(path, directory, key_name, "");
    if (!identity_load_key(&identity, path, reason)) {
        return NULL;
    }
    if (!is_p256(identity.key)) {
        (void)fail(reason, "cannot enrol with", path, "it is not a P-256 key. Move it away; a new one is made then");
        EVP_PKEY_free(identity.key);
        return NULL;
    }
    return identity.key;
}
