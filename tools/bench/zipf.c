#include "tools/bench/zipf.h"

#include <math.h>

#include "base/banned.h"

/* The integral of x^-s is (x^(1-s) - 1) / (1-s), log x at s = 1; both helpers are those quotients by way of expm1 and
 * log1p, which stay exact where 1-s is near 0. */
static double integral(double x, double s)
{
    double log_x = log(x), t = (1 - s) * log_x;
    return (fabs(t) > 1e-8 ? expm1(t) / t : 1 + t / 2) * log_x;
}

static double integral_inverse(double y, double s)
{
    double t = y * (1 - s);
    if (t < -1)
        t = -1; /* only by rounding */
    return exp((fabs(t) > 1e-8 ? log1p(t) / t : 1 - t / 2) * y);
}

void zipf_init(struct zipf *zipf, uint64_t n, double s)
{
    *zipf = (struct zipf){.n = n, .s = s};
    zipf->h_first = integral(1.5, s) - 1;
    zipf->h_last = integral((double)n + 0.5, s);
    zipf->accept = 2 - integral_inverse(integral(2.5, s) - pow(2, -s), s);
}

uint64_t zipf_next(const struct zipf *zipf, struct random *random)
{
    for (;;) {
        double uniform = (double)(random_next(random) >> 11) * 0x1p-53;
        double u = zipf->h_last + uniform * (zipf->h_first - zipf->h_last);
        double x = integral_inverse(u, zipf->s);
        uint64_t k = x < 1 ? 1 : (uint64_t)(x + 0.5);
        if (k < 1)
            k = 1;
        else if (k > zipf->n)
            k = zipf->n;
        /* The first test accepts most draws without a power. */
        if ((double)k - x <= zipf->accept || u >= integral((double)k + 0.5, zipf->s) - pow((double)k, -zipf->s))
            return k - 1;
    }
}
